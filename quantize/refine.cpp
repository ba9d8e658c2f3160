#include "quantize/refine.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/mm.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <optional>
#include <utility>

#include "quantize/grid/block_steps.h"
#include "quantize/row_lanes.h"
#include "runtime/base/fast_math.h"

namespace attar::gptq {
namespace {

constexpr int kPasses = 2;

// sums += x y, lane by lane, over n columns.
ATTAR_VECTOR_CLONES void add_products(const float* x, const float* y, int64_t n, float* sums) {
  Lanes own = {};
  for (int64_t j = 0; j < n; ++j)
    for (int r = 0; r < kRowLanes; ++r) own[r] += x[j * kRowLanes + r] * y[j * kRowLanes + r];
  for (int r = 0; r < kRowLanes; ++r) sums[r] += own[r];
}
// y += a x, lane by lane, over n columns.
ATTAR_VECTOR_CLONES void add_scaled(const float* a, const float* x, int64_t n, float* y) {
  for (int64_t j = 0; j < n; ++j)
    for (int r = 0; r < kRowLanes; ++r) y[j * kRowLanes + r] += a[r] * x[j * kRowLanes + r];
}
// The same with one x a lane and one factor a column.
ATTAR_VECTOR_CLONES void add_outer(const float* x, const float* factors, int64_t n, float* y) {
  for (int64_t j = 0; j < n; ++j)
    for (int r = 0; r < kRowLanes; ++r) y[j * kRowLanes + r] += x[r] * factors[j];
}

// One column's codes a level up or down, where that lowers the error: a move of `by` costs by (2 g + by h), so it goes
// against the gradient g. -> whether any lane moved
template <bool kTable>
inline __attribute__((always_inline)) bool step_each(const Levels& all, const StepLanes& steps, const float* gradient,
                                                     float h, float* values, float* by) {
  const Levels levels = all;
  float moved = 0.0f;
  for (int r = 0; r < kRowLanes; ++r) {
    const float scale = steps.scale[r], minimum = steps.minimum[r], g = gradient[r], value = values[r];
    const float level = levels.nearest<kTable>((value - minimum) * steps.inverse[r]);
    const float up = levels.above<kTable>(level), down = levels.below<kTable>(level);
    const float to = scale * (g * scale > 0.0f ? down : up) + minimum, move = to - value;
    by[r] = move * (2.0f * g + move * h) < 0.0f ? move : 0.0f;
    values[r] = by[r] != 0.0f ? to : value;
    moved += std::fabs(by[r]);
  }
  return moved > 0.0f;
}
ATTAR_VECTOR_CLONES bool step_whole(const Levels& levels, const StepLanes& steps, const float* gradient, float h,
                                    float* values, float* by) {
  return step_each<false>(levels, steps, gradient, h, values, by);
}
ATTAR_VECTOR_CLONES bool step_table(const Levels& levels, const StepLanes& steps, const float* gradient, float h,
                                    float* values, float* by) {
  return step_each<true>(levels, steps, gradient, h, values, by);
}

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

// The F16 numbers of one block.
struct Halves {
  std::byte* block;
  const StepPlaces& places;

  float d() const { return half_at(block, *places.d); }
  float dmin() const { return places.dmin ? half_at(block, *places.dmin) : 1.0f; }
  void put(float d, float dmin) const {
    put_half(block, *places.d, d);
    if (places.dmin) put_half(block, *places.dmin, dmin);
  }
};

// All rows at once, a block of columns after another.
class Refinement {
 public:
  Refinement(const at::Tensor& hessian, const at::Tensor& rows, Grid& grid, const at::Tensor& values)
      : hessian_(hessian),
        grid_(grid),
        n_(rows.size(0)),
        in_(rows.size(1)),
        size_(grid.format->block_size),
        groups_(static_cast<size_t>(size_ / 16)),
        places_(step_places(*grid.format)),
        multiples_(to_lanes(multiples_of(grid).steps, n_)),
        steps_(to_lanes(grid.steps, n_)),
        values_(to_lanes(values)),
        gradient_(at::mm(hessian, to_lanes(values - rows))),
        columns_(static_cast<size_t>(size_ * size_)) {
    for (std::vector<float>* one : {&here_, &moved_, &levels_, &by_d_, &by_dmin_, &of_d_, &of_dmin_})
      one->resize(static_cast<size_t>(size_ * kRowLanes));
  }

  void block(int64_t b) {
    const int64_t column = b * size_;
    const auto* h = hessian_.const_data_ptr<float>() + column * in_ + column;
    for (int64_t j = 0; j < size_; ++j)
      std::memcpy(&columns_[static_cast<size_t>(j * size_)], h + j * in_, static_cast<size_t>(size_) * sizeof(float));
    std::memcpy(here_.data(), gradient_.const_data_ptr<float>() + column * kRowLanes, here_.size() * sizeof(float));
    std::fill(moved_.begin(), moved_.end(), 0.0f);
    if (places_.d) refit(b);
    descend(b);
    at::Tensor moved = at::from_blob(moved_.data(), {size_, kRowLanes}, at::kFloat);
    gradient_.addmm_(hessian_.narrow(0, column, size_).t(), moved);
  }

  // -> (n, in)
  at::Tensor values() const { return from_lanes(values_, n_); }
  // -> (n, in); the grid gets the steps that its blocks have now.
  std::vector<int8_t> codes() {
    std::vector<int8_t> codes(static_cast<size_t>(n_ * in_));
    Lanes level, same;
    for (int64_t j = 0; j < in_; ++j) {
      const StepLanes& steps = steps_[static_cast<size_t>(j / 16)];
      round_lanes(grid_.levels, steps, values_.const_data_ptr<float>() + j * kRowLanes, level, same);
      for (int64_t r = 0; r < n_; ++r) codes[static_cast<size_t>(r * in_ + j)] = static_cast<int8_t>(level[r]);
      for (int64_t r = 0; j % 16 == 0 && r < n_; ++r)
        grid_.steps[static_cast<size_t>((r * in_ + j) / 16)] = {steps.scale[r], steps.inverse[r], steps.minimum[r]};
    }
    return codes;
  }

 private:
  float* values_of(int64_t b) { return values_.mutable_data_ptr<float>() + b * size_ * kRowLanes; }
  StepLanes* steps_of(int64_t b) { return &steps_[static_cast<size_t>(b) * groups_]; }
  const StepLanes* multiples_of_block(int64_t b) const { return &multiples_[static_cast<size_t>(b) * groups_]; }

  // d and dmin by least squares for the codes, kept where their F16 numbers lower the error.
  void refit(int64_t b) {
    directions(b);
    multiply_lanes(columns_.data(), by_d_.data(), size_, of_d_.data());
    Lanes x = {}, y = {}, xx = {}, xy = {}, yy = {};
    add_products(by_d_.data(), here_.data(), size_, x);
    add_products(by_d_.data(), of_d_.data(), size_, xx);
    if (places_.dmin) {
      multiply_lanes(columns_.data(), by_dmin_.data(), size_, of_dmin_.data());
      add_products(by_dmin_.data(), here_.data(), size_, y);
      add_products(by_d_.data(), of_dmin_.data(), size_, xy);
      add_products(by_dmin_.data(), of_dmin_.data(), size_, yy);
    }
    Lanes moved_d = {}, moved_dmin = {};
    for (int64_t r = 0; r < n_; ++r) move(b, r, {x[r], y[r], xx[r], xy[r], yy[r]}, moved_d[r], moved_dmin[r]);
    rescale(b);
    add_scaled(moved_d, of_d_.data(), size_, here_.data());
    if (places_.dmin) add_scaled(moved_dmin, of_dmin_.data(), size_, here_.data());
  }
  // Levels, and what values move by with d, and with dmin.
  void directions(int64_t b) {
    Lanes same;
    for (int64_t j = 0; j < size_; ++j) {
      const auto g = static_cast<size_t>(j / 16);
      float *level = &levels_[static_cast<size_t>(j * kRowLanes)], *by_d = &by_d_[static_cast<size_t>(j * kRowLanes)];
      round_lanes(grid_.levels, steps_of(b)[g], values_of(b) + j * kRowLanes, level, same);
      const StepLanes& multiple = multiples_of_block(b)[g];
      for (int r = 0; r < kRowLanes; ++r) by_d[r] = multiple.scale[r] * level[r];
      if (places_.dmin) std::copy_n(multiple.minimum, kRowLanes, &by_dmin_[static_cast<size_t>(j * kRowLanes)]);
    }
  }
  // One row's numbers, where that lowers its error. by_d, by_dmin: what they moved by
  void move(int64_t b, int64_t r, const TwoWays& ways, float& by_d, float& by_dmin) {
    const int64_t blocks = in_ / size_;
    const Halves halves{grid_.blocks.data() + (r * blocks + b) * grid_.format->block_bytes, places_};
    const float d = halves.d(), dmin = halves.dmin();
    const auto [a, c] = ways.best();
    halves.put(d + static_cast<float>(a), dmin + static_cast<float>(c));
    by_d = halves.d() - d, by_dmin = places_.dmin ? halves.dmin() - dmin : 0.0f;
    if (!(ways.cost(by_d, by_dmin) < 0.0)) {  // also where it is no number
      halves.put(d, dmin);
      by_d = by_dmin = 0.0f;
      return;
    }
    for (size_t g = 0; g < groups_; ++g) {
      const StepLanes& multiple = multiples_of_block(b)[g];
      StepLanes& steps = steps_of(b)[g];
      const float scale = halves.d() * multiple.scale[r], inverse = 1.0f / scale;
      steps.scale[r] = scale;
      steps.inverse[r] = std::isfinite(inverse) ? inverse : 0.0f;
      steps.minimum[r] = halves.dmin() * multiple.minimum[r];
    }
  }
  // What the levels stand for under the steps as they are now.
  void rescale(int64_t b) {
    for (int64_t j = 0; j < size_; ++j) {
      const StepLanes& steps = steps_of(b)[j / 16];
      const float* level = &levels_[static_cast<size_t>(j * kRowLanes)];
      float *value = values_of(b) + j * kRowLanes, *moved = &moved_[static_cast<size_t>(j * kRowLanes)];
      for (int r = 0; r < kRowLanes; ++r) {
        const float now = steps.scale[r] * level[r] + steps.minimum[r];
        moved[r] += now - value[r];
        value[r] = now;
      }
    }
  }

  void descend(int64_t b) {
    Lanes by;
    for (int64_t j = 0; j < size_; ++j) {
      const float* h = &columns_[static_cast<size_t>(j * size_)];
      if (!(grid_.levels.table ? step_table : step_whole)(grid_.levels, steps_of(b)[j / 16],
                                                          &here_[static_cast<size_t>(j * kRowLanes)], h[j],
                                                          values_of(b) + j * kRowLanes, by))
        continue;
      for (int r = 0; r < kRowLanes; ++r) moved_[static_cast<size_t>(j * kRowLanes + r)] += by[r];
      add_outer(by, h, size_, here_.data());
    }
  }

  const at::Tensor& hessian_;
  Grid& grid_;
  int64_t n_, in_, size_;
  size_t groups_;  // of 16 columns a block
  StepPlaces places_;
  std::vector<StepLanes> multiples_, steps_;  // (in / 16); multiples of d and dmin
  at::Tensor values_;                         // (in, kRowLanes)
  at::Tensor gradient_;         // (in, kRowLanes): H (values - rows)^T, but for the block that is worked on
  std::vector<float> columns_;  // (size, size): the block's own part of H
  // (size, kRowLanes) of the block: its gradient, what values have moved by, the codes' levels, what values move by
  // with d and with dmin, and H times those.
  std::vector<float> here_, moved_, levels_, by_d_, by_dmin_, of_d_, of_dmin_;
};

}  // namespace

std::vector<int8_t> refine(const at::Tensor& hessian, const at::Tensor& rows, Grid& grid, at::Tensor& values) {
  Refinement refinement(hessian, rows, grid, values);
  const int64_t blocks = rows.size(1) / grid.format->block_size;
  for (int64_t i = 0; i < kPasses * blocks; ++i) refinement.block(i % blocks);
  values = refinement.values();
  return refinement.codes();
}

}  // namespace attar::gptq
