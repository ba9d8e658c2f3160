// JSON that a model file holds: checked before anything in it is looked at.
#pragma once

#include <string>
#include <string_view>

namespace attar {

// Error{Input} naming `where` when brackets nest deeper than any file of a model or a data set: the parser's values
// copy and free themselves by recursion, which such text would drive off the stack.
void check_json_depth(std::string_view text, const std::string& where);

// Error{Input} naming `where` unless `text` is one JSON object in which no key stands twice; a parser alone would merge
// those. Headers carry no JSON type, so the caller parses what has passed.
void check_json_object(const std::string& text, const std::string& where);

}  // namespace attar
