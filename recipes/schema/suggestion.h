// "did you mean": what a user may have wanted to type.
#pragma once

#include <string>
#include <vector>

namespace attar {

// "; did you mean `ffn`?" when one of `known` is near, else "; known keys: ..." with all of them.
std::string suggestion(const std::string& word, const std::vector<std::string>& known);

}  // namespace attar
