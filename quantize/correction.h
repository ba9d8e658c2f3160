// What rounding aims at. The layers before a linear have lost something when its turn comes: its inputs X are not the
// X' of the model as it was. So it does not aim at its own weights W but at those that take X nearest to W X'
// (quantization error propagation, Arai and Ichikawa 2025, arXiv 2504.09629, section 4; Qronos, Zhang et al. 2025,
// arXiv 2505.11695):
//   W + a (W (X' - X)^T X + (H' - H)^T X) (X^T X + D)^-1,
// where the second term, of linears that add to the residual stream H with no norm in between, also takes back what the
// stream itself has lost.
// a = 1/2 and the ridge D, half of the diagonal of X^T X but at least half a millionth of its middle, are for what a
// text says of its own noise.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "compress/block_walk.h"

namespace attar {

struct Correction {
  at::Tensor by_weights{};  // (in, in) f32: what rows W are multiplied by and gain; undefined: nothing
  at::Tensor by_stream{};   // (out, in) f32: what they gain besides; undefined: nothing

  // rows (n, in) f32 from row `first` on, in place.
  void add_to(at::Tensor rows, int64_t first) const;
};

// Of statistics without drift an empty one.
Correction correction_of(const LinearStats& stats, int threads);

}  // namespace attar
