// The split expressions as hand-written scanners; the regular expression is given beside each. What an expression does
// not match is a piece too. A lookahead never sees past the end of its piece.
#pragma once

#include <string_view>

#include "runtime/formats/tokenizer/split.h"

namespace attar::split_rules {

void gpt2(std::string_view text, const PieceVisitor& visit);
void smollm(std::string_view text, const PieceVisitor& visit);
void llama3(std::string_view text, const PieceVisitor& visit);
void qwen2(std::string_view text, const PieceVisitor& visit);
void qwen35(std::string_view text, const PieceVisitor& visit);
void seed_coder(std::string_view text, const PieceVisitor& visit);
void minicpm5(std::string_view text, const PieceVisitor& visit);
void tekken(std::string_view text, const PieceVisitor& visit);
void gpt4o(std::string_view text, const PieceVisitor& visit);
void deepseek_v3(std::string_view text, const PieceVisitor& visit);
void deepseek_coder(std::string_view text, const PieceVisitor& visit);
void deepseek_llm(std::string_view text, const PieceVisitor& visit);
void falcon(std::string_view text, const PieceVisitor& visit);
void llama_cpp_default(std::string_view text, const PieceVisitor& visit);

}  // namespace attar::split_rules
