// Texts in the tokens of one model, as another model's tokenizer reads the same bytes: a student learns in tokens of
// its own, beside a teacher that reads in its. Where both end a token lie the chunks that they are compared by.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "compress/token_dataset.h"
#include "runtime/formats/tokenizer/tokenizer.h"

namespace attar {

// The texts of `data`, in the tokens of `from`, in those of `to`. Control tokens are those of the same spelling; what a
// text begins with and the EOS that ends it are each tokenizer's own. Bytes count in the loss where they did. What
// comes behind bytes that are no text, or behind a control token that a text's writer chose and `to` lacks, is left
// out. Error{Input}: `to` lacks one that stands before what is learned, as a chat's frame does.
TokenDataset in_tokens_of(const Tokenizer& to, const TokenDataset& data, const Tokenizer& from);

struct AlignedData {
  TokenDataset data;                                           // in the student's tokens, with the teacher's reading
  int64_t chunks = 0, student_tokens = 0, teacher_tokens = 0;  // that are learned from, and what they hold
  int64_t loss_tokens = 0;                                     // of the student, in chunks that are or not
  std::string note() const;
};
// The same beside the teacher's own tokens, in parts of at most `most_tokens` of either that end where both end one.
// A part behind the first begins with what a text of its tokenizer begins with. A chunk that is longer is left out.
// Error{Input}: no chunk is left to learn from.
AlignedData aligned_data(const TokenDataset& data, const Tokenizer& teacher, const Tokenizer& student,
                         int64_t most_tokens);

}  // namespace attar
