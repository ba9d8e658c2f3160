// Optimal brain surgeon: what removing inputs of a linear costs, and what the others can make up for. The core that
// one-shot methods share. With H = X^T X + diag(ridge), a weight W (out, in) that is the least squares optimum, and a
// removed set S of inputs, the best weight without them is W - W_S ([H^-1]_SS)^-1 [H^-1]_S,: and the error it adds is
// tr(W_S ([H^-1]_SS)^-1 W_S^T) (Hassibi and Stork 1993; Frantar and Alistarh 2022, arXiv 2208.11580, section 3).
// All in double.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

namespace attar::obs {

// What is added to the diagonal of X^T X: `damping` times each entry itself, so that one loud input does not drown the
// others (a share of the mean would); inputs that are never used count as the least used one. gram (in, in) -> (in),
// all > 0
at::Tensor ridge(const at::Tensor& gram, double damping);
at::Tensor ridge_of(const at::Tensor& diagonal, double damping);  // the same of the gram's diagonal

// H^-1 by Cholesky. hessian (in, in), positive definite
at::Tensor inverted(const at::Tensor& hessian);

// Which `count` groups of `group` neighbouring inputs to remove, in the order of removal: each time the one that adds
// the least error after all before it are gone and made up for (H^-1 is downdated), so of two inputs that say the same
// one stays. weight (out, in), inverse (in, in). Ties go to the lower place.
std::vector<int64_t> removal_order(const at::Tensor& weight, const at::Tensor& inverse, int64_t group, int64_t count);

// The best weight without the inputs `removed` (k): their columns are 0. -> (out, in)
at::Tensor without_inputs(const at::Tensor& weight, const at::Tensor& inverse, const at::Tensor& removed);

}  // namespace attar::obs
