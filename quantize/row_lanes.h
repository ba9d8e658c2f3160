// Rows of a matrix side by side: weight j of row r is lane r of column j. What is done to every row is then one loop
// over lanes, which compilers turn into vectors.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>
#include <vector>

#include "quantize/grid/grid.h"

namespace attar::gptq {

inline constexpr int kRowLanes = 64;  // rows at a time; those that are missing are 0

using Lanes = float[kRowLanes];

// Of 16 columns of each row. inverse: 1 / scale, 0 where that is infinite.
struct StepLanes {
  Lanes scale, inverse, minimum;
};

// rows (n, in), n <= kRowLanes -> (in, kRowLanes); and back, (in, kRowLanes) -> (n, in)
at::Tensor to_lanes(const at::Tensor& rows);
at::Tensor from_lanes(const at::Tensor& lanes, int64_t n);
// steps of rows (n, groups) -> (groups)
std::vector<StepLanes> to_lanes(std::span<const Grid::Step> steps, int64_t n);

// One column: the nearest level of each value, and what it stands for, as round_at gives it.
void round_lanes(const Levels& levels, const StepLanes& steps, const float* values, float* level, float* rounded);

// out (n, kRowLanes) = h (n, n) times x (n, kRowLanes). All contiguous, of one block.
void multiply_lanes(const float* h, const float* x, int64_t n, float* out);

}  // namespace attar::gptq
