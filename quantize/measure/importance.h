// What importance the inputs of a linear have beside each other.
#pragma once

#include <vector>

#include "compress/block_walk.h"

namespace attar {

// Mean squares. -> (in)
std::vector<float> input_means(const LinearStats& stats);

// Weights around 1, over the median of those that are not zero, that no block can be all zero in: a thousandth is
// added. (The mean is that of one loud input: it would make all the others alike.) Beyond the limit nothing else
// counts.
std::vector<float> relative_weights(const std::vector<float>& importance);
// The same of a metric's diagonal. matrix (in, in) -> (in)
std::vector<float> diagonal_weights(const at::Tensor& matrix);

}  // namespace attar
