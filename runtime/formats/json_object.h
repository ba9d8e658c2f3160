// JSON that a model file holds: checked before anything in it is looked at.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

namespace attar {

// Parses an object. Error{Input} naming `where` for anything else, and for keys that stand twice, which the parser alone
// would merge.
nlohmann::ordered_json parse_json_object(const std::string& text, const std::string& where);

}  // namespace attar
