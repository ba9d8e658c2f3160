// A student whose vocabulary was trimmed from its teacher's.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "runtime/formats/tokenizer/tokenizer.h"

namespace attar {

// The teacher's id of each of the student's tokens (Vs), found by their texts; empty when the tokenizers are the same.
// Error{Input} naming `student_source` when the student has a token that the teacher lacks; `way_out`: what else can be
// done about it than what its hint says.
std::vector<int32_t> teacher_ids(const Tokenizer& teacher, const Tokenizer& student, const std::string& student_source,
                                 const std::string& way_out = {});

// Error{Input} naming `student_source` and what differs, when the two do not read every text alike, but for the tokens
// that the student has no more: another split or normalizer, other ids, merges, kinds or roles of tokens.
void require_same_reading(const Tokenizer& teacher, const Tokenizer& student, const std::string& student_source,
                          const std::string& way_out = {});
// The same as an answer.
bool same_reading(const Tokenizer& teacher, const Tokenizer& student);

}  // namespace attar
