#include "quantize/refine.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "quantize/grid/block_steps.h"
#include "runtime/base/fast_math.h"

namespace attar::gptq {
namespace {

constexpr int kPasses = 2;

// y += a x
ATTAR_VECTOR_CLONES void add_scaled(float a, const float* x, int64_t n, float* y) {
  for (int64_t i = 0; i < n; ++i) y[i] += a * x[i];
}
ATTAR_VECTOR_CLONES float dot(const float* x, const float* y, int64_t n) {
  float lanes[16] = {};
  for (int64_t i = 0; i + 16 <= n; i += 16)
    for (int64_t l = 0; l < 16; ++l) lanes[l] += x[i + l] * y[i + l];
  float sum = 0.0f;
  for (const float lane : lanes) sum += lane;
  return sum;
}

// One block of one row: its values, and the error's product with H there, as both change.
struct BlockOfRow {
  const float* hessian;  // (size, size): H of the block's inputs among themselves
  int64_t size;
  float* value;     // (size)
  float* gradient;  // (size): error x H
  float* moved;     // (size): what `value` has moved by

  void move(int64_t j, float to) {
    const float by = to - value[j];
    value[j] = to;
    moved[j] += by;
    add_scaled(by, hessian + j * size, size, gradient);
  }
};

// The product of the block's H with x. -> (size)
std::vector<float> times_hessian(const BlockOfRow& block, const std::vector<float>& x) {
  std::vector<float> out(static_cast<size_t>(block.size), 0.0f);
  for (int64_t j = 0; j < block.size; ++j)
    if (x[static_cast<size_t>(j)] != 0.0f)
      add_scaled(x[static_cast<size_t>(j)], block.hessian + j * block.size, block.size, out.data());
  return out;
}

// Where a block keeps its steps, and what its groups are multiples of.
struct StoredSteps {
  const StepPlaces& places;
  std::byte* block;
  const Grid::Step* multiples;  // of each group
  Grid::Step* steps;            // what the bytes stand for

  void read_back(int64_t groups) {
    const float d = places.d ? half_at(block, *places.d) : 1.0f,
                dmin = places.dmin ? half_at(block, *places.dmin) : 1.0f;
    for (int64_t g = 0; g < groups; ++g) {
      const float scale = d * multiples[g].scale, inverse = 1.0f / scale;
      steps[g] = {scale, std::isfinite(inverse) ? inverse : 0.0f, dmin * multiples[g].minimum};
    }
  }
};

// What moving along two directions of a block costs: 2 (a x + b y) . gradient + (a x + b y) H (a x + b y).
struct TwoWays {
  double x, y, xx, xy, yy;

  TwoWays(const BlockOfRow& block, const std::vector<float>& by_x, const std::vector<float>& by_y) {
    const std::vector<float> h_x = times_hessian(block, by_x), h_y = times_hessian(block, by_y);
    const int64_t n = block.size;
    x = dot(by_x.data(), block.gradient, n), y = dot(by_y.data(), block.gradient, n);
    xx = dot(by_x.data(), h_x.data(), n), xy = dot(by_x.data(), h_y.data(), n), yy = dot(by_y.data(), h_y.data(), n);
  }
  double cost(double a, double b) const { return 2.0 * (a * x + b * y) + a * a * xx + 2.0 * a * b * xy + b * b * yy; }
  std::pair<double, double> best() const {
    const double determinant = xx * yy - xy * xy;
    if (determinant > 1e-6 * xx * yy) return {(xy * y - yy * x) / determinant, (xy * x - xx * y) / determinant};
    return {xx > 0.0 ? -x / xx : 0.0, 0.0};
  }
};

// d and dmin of the block by least squares, kept where their F16 numbers lower the error.
void refit(BlockOfRow& block, StoredSteps stored, const Levels& levels) {
  if (!stored.places.d) return;
  const auto size = static_cast<size_t>(block.size);
  std::vector<float> level(size), by_d(size), by_dmin(size, 0.0f);
  for (size_t j = 0; j < size; ++j) {
    const Grid::Step& step = stored.steps[j / 16];
    level[j] = levels.nearest((block.value[j] - step.minimum) * step.inverse);
    by_d[j] = stored.multiples[j / 16].scale * level[j];
    if (stored.places.dmin) by_dmin[j] = stored.multiples[j / 16].minimum;
  }
  const TwoWays ways(block, by_d, by_dmin);
  const auto [more_d, more_dmin] = ways.best();
  const float d = half_at(stored.block, *stored.places.d),
              dmin = stored.places.dmin ? half_at(stored.block, *stored.places.dmin) : 0.0f;
  put_half(stored.block, *stored.places.d, d + static_cast<float>(more_d));
  if (stored.places.dmin) put_half(stored.block, *stored.places.dmin, dmin + static_cast<float>(more_dmin));
  const double by = static_cast<double>(half_at(stored.block, *stored.places.d)) - d,
               by_min =
                   stored.places.dmin ? static_cast<double>(half_at(stored.block, *stored.places.dmin)) - dmin : 0.0;
  if (!(ways.cost(by, by_min) < 0.0)) {  // also where it is no number
    put_half(stored.block, *stored.places.d, d);
    if (stored.places.dmin) put_half(stored.block, *stored.places.dmin, dmin);
    return;
  }
  stored.read_back(block.size / 16);
  for (size_t j = 0; j < size; ++j) {
    const Grid::Step& step = stored.steps[j / 16];
    block.move(static_cast<int64_t>(j), step.scale * level[j] + step.minimum);
  }
}

// Each code to the level above or below it, where that lowers the error most.
void descend(BlockOfRow& block, const Grid::Step* steps, const Levels& levels) {
  for (int64_t j = 0; j < block.size; ++j) {
    const Grid::Step& step = steps[j / 16];
    const float level = levels.nearest((block.value[j] - step.minimum) * step.inverse),
                own = block.hessian[j * block.size + j];
    float best = 0.0f, to = block.value[j];
    for (const float next : {levels.below(level), levels.above(level)}) {
      const float value = step.scale * next + step.minimum, by = value - block.value[j];
      const float change = by * (2.0f * block.gradient[j] + by * own);
      if (change < best) best = change, to = value;
    }
    if (best < 0.0f) block.move(j, to);
  }
}

}  // namespace

void refine(const at::Tensor& hessian, const at::Tensor& rows, Grid& grid, at::Tensor& values) {
  const QuantFormat& format = *grid.format;
  const int64_t n = rows.size(0), in = rows.size(1), size = format.block_size, groups = size / 16,
                blocks_a_row = in / size;
  const StepPlaces places = step_places(format);
  const Grid multiples = multiples_of(grid);
  at::Tensor gradient = at::mm(values - rows, hessian);  // (n, in)
  for (int pass = 0; pass < kPasses; ++pass)
    for (int64_t b = 0; b < blocks_a_row; ++b) {
      const at::Tensor own = hessian.narrow(0, b * size, size).narrow(1, b * size, size).contiguous();
      at::Tensor here = gradient.narrow(1, b * size, size).clone(at::MemoryFormat::Contiguous),
                 moved = at::zeros({n, size}, at::kFloat);
      for (int64_t r = 0; r < n; ++r) {
        BlockOfRow block{own.const_data_ptr<float>(), size, values.mutable_data_ptr<float>() + r * in + b * size,
                         here.mutable_data_ptr<float>() + r * size, moved.mutable_data_ptr<float>() + r * size};
        const int64_t at = r * blocks_a_row + b;
        const auto first = static_cast<size_t>(at * groups);
        refit(block,
              {places, grid.blocks.data() + at * format.block_bytes, &multiples.steps[first], &grid.steps[first]},
              grid.levels);
        descend(block, &grid.steps[first], grid.levels);
      }
      gradient += at::mm(moved, hessian.narrow(0, b * size, size));
    }
}

}  // namespace attar::gptq
