// Every key of a recipe as a page to read: REFERENCE.md. Made of the JSON Schema, so of the fields and their rules.
#pragma once

#include <string>

namespace attar {

std::string recipe_reference();  // Markdown

}  // namespace attar
