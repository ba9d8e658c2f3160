// Regular expressions of JSON Schema (`pattern`, `format`), as the contents of a JSON string. Source: ECMA-262, 22.2,
// without look-around, back-references, word borders and properties of characters, which are refused by name.
#pragma once

#include <string>
#include <string_view>

#include "runtime/text/grammar/schema/json_text.h"

namespace attar::runtime {

// Strings in which `pattern` is found, with their quotes. Error{Usage} naming `where`, with the place in the pattern.
Piece strings_matching(JsonText& json, std::string_view pattern, const std::string& where);

// The pattern of a format; "": it is none of those that are known. Every text of it is one of the format.
std::string pattern_of_format(std::string_view format);
std::string known_formats();  // "date, time, ..."

}  // namespace attar::runtime
