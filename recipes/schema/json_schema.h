// The JSON Schema (2020-12) of recipes, for editors: made of the fields, their help and their rules.
#pragma once

#include <string>

namespace attar {

std::string recipe_json_schema();

}  // namespace attar
