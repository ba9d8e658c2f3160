// Text that a student writes as it learns: its weights go to the native runtime in memory, without a file.
#pragma once

#include "distill/train.h"
#include "runtime/formats/tokenizer/tokenizer.h"

namespace attar {

// Rollouts in batches by the runtime's int8 kernels, of weights rounded to Q8_0 where their rows are whole blocks. What
// is written does not depend on `threads`. `tokenizer` outlives it.
RolloutWriter student_writer(const TokenizerData& tokenizer, int threads);

}  // namespace attar
