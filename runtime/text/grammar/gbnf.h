// GBNF, the notation in which llama.cpp's users write grammars. Source: grammars/README.md of llama.cpp, 2026; its
// tokens in angle brackets are not read.
#pragma once

#include <string>
#include <string_view>

#include "runtime/text/grammar/rules.h"

namespace attar::runtime {

inline constexpr size_t kMostGrammarBytes = size_t{1} << 20;
inline constexpr int kMostBrackets = 100;  // inside each other

// The rules of a text; `where` is its file, or what else to call it. Error{Usage} with line and column, what was
// expected there and what stands there; for a rule that is not defined, with the nearest that is.
Rules parse_gbnf(std::string_view text, const std::string& where);

}  // namespace attar::runtime
