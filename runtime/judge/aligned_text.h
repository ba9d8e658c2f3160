// One text as two models read it, and how it is cut where both end a token.
#pragma once

#include <cstdint>
#include <vector>

#include "runtime/formats/model_text.h"
#include "runtime/formats/tokenizer/tokenizer.h"

namespace attar::runtime {

// Some text as one model's tokens.
struct TextTokens {
  std::vector<int32_t> ids;      // (T)
  std::vector<size_t> ends;      // (T) where each of them ends in the text, in bytes
  std::vector<uint8_t> counted;  // (T) 1: it is scored
};
TextTokens tokens_of(const Tokenizer& tokenizer, const ModelText& text);
// Tokens [begin, end), behind what the tokenizer begins a text with where they are not its beginning.
TextTokens window_of(const Tokenizer& tokenizer, const TextTokens& tokens, size_t begin, size_t end);

struct AlignedText {
  static constexpr size_t kNone = SIZE_MAX;

  TextTokens teacher, student;
  std::vector<size_t> partner;  // (teacher's tokens): the student token that ends at the same byte, or kNone

  AlignedText(TextTokens of_teacher, TextTokens of_student);
};

// A stretch of text that both tokenizations cut at its two ends: tokens [begin, end) of each.
struct Stretch {
  size_t teacher_begin = 0, teacher_end = 0, student_begin = 0, student_end = 0;
};
// The longest stretch behind `last` that has at most `most` tokens of either model; longer where they share no cut.
// Empty when no shared cut is left.
Stretch next_stretch(const AlignedText& text, const Stretch& last, size_t most);

}  // namespace attar::runtime
