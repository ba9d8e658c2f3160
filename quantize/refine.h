// After error feedback: what is left of a row's error under the whole X^T X is lowered by block scales that least
// squares finds for the codes, and by codes that go one level up or down wherever that helps (coordinate descent).
// Feedback looks at each input once, under scales that were searched before; here every one is seen again beside all
// others.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "quantize/grid/grid.h"

namespace attar::gptq {

// rows (n, in) f32: the weights; values (n, in): of `grid`, which is of those rows. Both change: no row's error
// (values - rows) H (values - rows)^T grows. hessian (in, in) f32, symmetric; n <= kRowLanes. -> the codes of the
// values, (n, in)
std::vector<int8_t> refine(const at::Tensor& hessian, const at::Tensor& rows, Grid& grid, at::Tensor& values);

}  // namespace attar::gptq
