// Least-squares surgery on the inputs of one linear: which inputs matter, and what is left after some are cut.
// Optimal brain surgeon (Hassibi and Stork 1993; Frantar and Alistarh 2022, arXiv 2208.11580, section 3) with
// H = X^T X + damping * mean(diag) * I over the calibration inputs. All in double.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

namespace attar {

// gram (in, in) f64 -> H. Inputs that are never used get 1 on the diagonal.
at::Tensor damped(const at::Tensor& gram, double damping);

// Error added by removing each group of `group` neighbouring inputs alone: tr(W_S ([H^-1]_SS)^-1 W_S^T).
// weight (out, in), hessian (in, in) -> (in / group) f64
at::Tensor removal_errors(const at::Tensor& weight, const at::Tensor& hessian, int64_t group);

// The weight on the kept inputs alone that gives the old output best: W H_:,K (H_KK)^-1. -> (out, kept) f32
at::Tensor refit(const at::Tensor& weight, const at::Tensor& hessian, const at::Tensor& kept);

// ||(W - W') X||^2 / ||W X||^2 of a new weight on the kept inputs.
double relative_error(const at::Tensor& weight, const at::Tensor& cut, const at::Tensor& gram, const at::Tensor& kept);

}  // namespace attar
