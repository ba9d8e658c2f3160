// Error feedback on codebooks: eight inputs at a time, under what the later ones cannot make up for.
#pragma once

#include <vector>

#include "quantize/gptq.h"

namespace attar::gptq {

// Rows (n, in) under feedback on a codebook, with the steps and shifts of `blocks`, whose points and signs are
// replaced.
// -> (n, in): what they decode to. inputs.order keeps eights together.
at::Tensor lattice_feedback(const QuantFormat& format, const InputHessian& inputs, const at::Tensor& rows,
                            std::vector<LatticeBlock>& blocks);

}  // namespace attar::gptq
