// Which inputs of a linear go, and the weights that make up for them, by optimal brain surgeon (compress/obs.h).
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "compress/block_walk.h"

namespace attar {

struct CutOptions {
  int64_t group = 1;  // neighbouring inputs that go together
  int64_t keep = 0;   // groups that stay
  double damping = 0.003;
  bool refit = true;  // else the weights that stay are as they were
};
struct InputCut {
  std::vector<int64_t> kept;  // groups, ascending
  at::Tensor inputs;          // (keep * group) int64, ascending
  at::Tensor weight;          // (out, keep * group) f32
  double relative_error = 0;  // ||X' W'^T - Y||^2 / ||Y||^2 of what goes in now, X'
};

// The refit is the least squares fit of Y on the inputs that stay. Y is what came out of the whole model where the walk
// collected that: W + t (Y^T X - W X^T X) (X^T X + R)^-1 less the inputs that go, with R = obs::ridge, and t in [0, 1]
// the share of what the fit explains that is not chance. Else it is what the old weight gives, t = 0. weight (out, in)
InputCut cut_inputs(const at::Tensor& weight, const LinearStats& stats, const CutOptions& options);

}  // namespace attar
