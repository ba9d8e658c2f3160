#include "quantize/refine.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

#include <cmath>
#include <optional>
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

// The levels of values that are on their grid. values (size)
template <bool kTable>
inline __attribute__((always_inline)) void levels_of(const Grid::Step* steps, const Levels& all, const float* values,
                                                     int64_t size, float* out) {
  const Levels levels = all;
  for (int64_t g = 0; g < size / 16; ++g, values += 16, out += 16) {
    const Grid::Step step = steps[g];
    for (int j = 0; j < 16; ++j) out[j] = levels.nearest<kTable>((values[j] - step.minimum) * step.inverse);
  }
}
ATTAR_VECTOR_CLONES void whole_levels(const Grid::Step* steps, const Levels& levels, const float* values, int64_t size,
                                      float* out) {
  levels_of<false>(steps, levels, values, size, out);
}
ATTAR_VECTOR_CLONES void table_levels(const Grid::Step* steps, const Levels& levels, const float* values, int64_t size,
                                      float* out) {
  levels_of<true>(steps, levels, values, size, out);
}

// One block of a row: its bytes and what they stand for. Codes are kept as levels.
struct Block {
  std::byte* bytes;
  const Grid::Step* multiples;  // of d and dmin, of each group
  Grid::Step* steps;            // (groups)
  float* value;                 // (size)
  float* gradient;              // (size): the row's error x H, in these columns
  float* moved;                 // (size): what `value` has moved by

  float level(const Levels& levels, int64_t j) const {
    const Grid::Step& step = steps[j / 16];
    return levels.nearest((value[j] - step.minimum) * step.inverse);
  }
};

// What moving values along two directions costs: 2 (a x + b y) . gradient + (a x + b y) H (a x + b y).
struct TwoWays {
  double x, y, xx, xy, yy;

  double cost(double a, double b) const { return 2.0 * (a * x + b * y) + a * a * xx + 2.0 * a * b * xy + b * b * yy; }
  std::pair<double, double> best() const {
    const double determinant = xx * yy - xy * xy;
    if (determinant > 1e-6 * xx * yy) return {(xy * y - yy * x) / determinant, (xy * x - xx * y) / determinant};
    return {xx > 0.0 ? -x / xx : 0.0, 0.0};
  }
};

// The blocks of all rows in the same columns, which are lowered together.
class Blocks {
 public:
  Blocks(const at::Tensor& hessian, const StepPlaces& places, const Levels& levels, std::vector<Block> of)
      : hessian_(hessian),
        size_(hessian.size(0)),
        places_(places),
        levels_(levels),
        least_gap_(levels.least_gap()),
        blocks_(std::move(of)) {}

  // d and dmin by least squares for the codes, kept where their F16 numbers lower the error.
  void refit() {
    if (!places_.d) return;
    const auto n = static_cast<int64_t>(blocks_.size());
    at::Tensor levels = at::empty({n, size_}, at::kFloat), by_d = at::empty_like(levels),
               by_dmin = at::zeros_like(levels);
    for (int64_t r = 0; r < n; ++r) {  // what values move by with d, and with dmin
      const Block& block = blocks_[static_cast<size_t>(r)];
      float *level = row(levels, r), *x = row(by_d, r), *y = row(by_dmin, r);
      (levels_.table ? table_levels : whole_levels)(block.steps, levels_, block.value, size_, level);
      for (int64_t j = 0; j < size_; ++j) {
        x[j] = block.multiples[j / 16].scale * level[j];
        if (places_.dmin) y[j] = block.multiples[j / 16].minimum;
      }
    }
    at::Tensor of_d = at::mm(by_d, hessian_), of_dmin = places_.dmin ? at::mm(by_dmin, hessian_) : by_dmin;
    for (int64_t r = 0; r < n; ++r)
      refit(blocks_[static_cast<size_t>(r)], row(levels, r), {row(by_d, r), row(of_d, r)},
            {row(by_dmin, r), row(of_dmin, r)});
  }

  // Each code to the level above or below it, where that lowers the error: a move of `by` costs by (2 g + by h), so it
  // goes against the gradient g, and no further than 2 |g| / h.
  void descend() {
    for (Block& block : blocks_)
      for (int64_t j = 0; j < size_; ++j) {
        const Grid::Step& step = block.steps[j / 16];
        const float gradient = block.gradient[j], own = hessian_row(j)[j];
        if (least_gap_ * std::fabs(step.scale) * own >= 2.0f * std::fabs(gradient)) continue;
        const float level = block.level(levels_, j);
        const float next = (gradient > 0.0f) == (step.scale > 0.0f) ? levels_.below(level) : levels_.above(level);
        const float to = step.scale * next + step.minimum, by = to - block.value[j];
        if (!(by * (2.0f * gradient + by * own) < 0.0f)) continue;
        block.value[j] = to;
        block.moved[j] += by;
        add_scaled(by, hessian_row(j), size_, block.gradient);
      }
  }

 private:
  struct Direction {
    const float *by, *times_h;  // (size)
  };
  static float* row(at::Tensor& rows, int64_t r) { return rows.mutable_data_ptr<float>() + r * rows.size(1); }
  const float* hessian_row(int64_t j) const { return hessian_.const_data_ptr<float>() + j * size_; }

  void refit(Block& block, const float* levels, const Direction& d, const Direction& dmin) const {
    const auto product = [&](const float* a, const float* b) { return static_cast<double>(dot(a, b, size_)); };
    const TwoWays ways{product(d.by, block.gradient), product(dmin.by, block.gradient), product(d.by, d.times_h),
                       product(d.by, dmin.times_h), product(dmin.by, dmin.times_h)};
    const auto [a, b] = ways.best();
    const Halves before = halves_of(block.bytes);
    const float moved_d = move_half(block.bytes, places_.d, a), moved_dmin = move_half(block.bytes, places_.dmin, b);
    if (!(ways.cost(moved_d, moved_dmin) < 0.0)) {  // also where it is no number
      put_back(block.bytes, before);
      return;
    }
    read_steps(block);
    for (int64_t j = 0; j < size_; ++j) {
      const Grid::Step& step = block.steps[j / 16];
      const float value = step.scale * levels[j] + step.minimum;
      block.moved[j] += value - block.value[j];
      block.value[j] = value;
    }
    add_scaled(moved_d, d.times_h, size_, block.gradient);
    add_scaled(moved_dmin, dmin.times_h, size_, block.gradient);
  }

  // -> what the F16 number there moved by
  static float move_half(std::byte* bytes, const std::optional<int64_t>& place, double by) {
    if (!place) return 0.0f;
    const float before = half_at(bytes, *place);
    put_half(bytes, *place, before + static_cast<float>(by));
    return half_at(bytes, *place) - before;
  }

  struct Halves {
    float d, dmin;
  };
  Halves halves_of(const std::byte* bytes) const {
    return {half_at(bytes, *places_.d), places_.dmin ? half_at(bytes, *places_.dmin) : 1.0f};
  }
  void put_back(std::byte* bytes, const Halves& halves) const {
    put_half(bytes, *places_.d, halves.d);
    if (places_.dmin) put_half(bytes, *places_.dmin, halves.dmin);
  }

  void read_steps(Block& block) const {
    const auto [d, dmin] = halves_of(block.bytes);
    for (int64_t g = 0; g < size_ / 16; ++g) {
      const float scale = d * block.multiples[g].scale, inverse = 1.0f / scale;
      block.steps[g] = {scale, std::isfinite(inverse) ? inverse : 0.0f, dmin * block.multiples[g].minimum};
    }
  }

  at::Tensor hessian_;  // (size, size): of these columns among themselves
  int64_t size_;
  const StepPlaces& places_;
  const Levels& levels_;
  float least_gap_;
  std::vector<Block> blocks_;
};

}  // namespace

void refine(const at::Tensor& hessian, const at::Tensor& rows, Grid& grid, at::Tensor& values) {
  const QuantFormat& format = *grid.format;
  const int64_t n = rows.size(0), in = rows.size(1), size = format.block_size, blocks_a_row = in / size;
  const StepPlaces places = step_places(format);
  const Grid multiples = multiples_of(grid);
  at::Tensor gradient = at::mm(values - rows, hessian);  // (n, in)
  for (int64_t i = 0; i < kPasses * blocks_a_row; ++i) {
    const int64_t b = i % blocks_a_row, column = b * size;
    at::Tensor here = gradient.narrow(1, column, size).clone(at::MemoryFormat::Contiguous),
               moved = at::zeros({n, size}, at::kFloat);
    std::vector<Block> of_rows;
    for (int64_t r = 0; r < n; ++r) {
      const int64_t at = r * blocks_a_row + b, group = at * size / 16;
      of_rows.push_back({grid.blocks.data() + at * format.block_bytes, &multiples.steps[static_cast<size_t>(group)],
                         &grid.steps[static_cast<size_t>(group)], values.mutable_data_ptr<float>() + r * in + column,
                         here.mutable_data_ptr<float>() + r * size, moved.mutable_data_ptr<float>() + r * size});
    }
    Blocks blocks(hessian.narrow(0, column, size).narrow(1, column, size).contiguous(), places, grid.levels,
                  std::move(of_rows));
    blocks.refit();
    blocks.descend();
    gradient += at::mm(moved, hessian.narrow(0, column, size));
  }
}

}  // namespace attar::gptq
