#include "quantize/row_lanes.h"

#include <ATen/ops/zeros.h>

#include <algorithm>

#include "runtime/base/fast_math.h"

namespace attar::gptq {
namespace {

template <bool kTable>
inline __attribute__((always_inline)) void round_each(const Levels& all, const StepLanes& steps, const float* values,
                                                      float* level, float* rounded) {
  const Levels levels = all;
  for (int r = 0; r < kRowLanes; ++r) {
    level[r] = levels.nearest<kTable>((values[r] - steps.minimum[r]) * steps.inverse[r]);
    rounded[r] = steps.scale[r] * level[r] + steps.minimum[r];
  }
}
ATTAR_VECTOR_CLONES void round_whole(const Levels& levels, const StepLanes& steps, const float* values, float* level,
                                     float* rounded) {
  round_each<false>(levels, steps, values, level, rounded);
}
ATTAR_VECTOR_CLONES void round_table(const Levels& levels, const StepLanes& steps, const float* values, float* level,
                                     float* rounded) {
  round_each<true>(levels, steps, values, level, rounded);
}

}  // namespace

at::Tensor to_lanes(const at::Tensor& rows) {
  at::Tensor lanes = at::zeros({rows.size(1), kRowLanes}, at::kFloat);
  lanes.narrow(1, 0, rows.size(0)).copy_(rows.t());
  return lanes;
}

at::Tensor from_lanes(const at::Tensor& lanes, int64_t n) {
  return lanes.narrow(1, 0, n).t().contiguous();
}

std::vector<StepLanes> to_lanes(std::span<const Grid::Step> steps, int64_t n) {
  const size_t rows = static_cast<size_t>(n), groups = steps.size() / rows;
  std::vector<StepLanes> lanes(groups);
  for (size_t r = 0; r < rows; ++r)
    for (size_t g = 0; g < groups; ++g) {
      const Grid::Step& step = steps[r * groups + g];
      lanes[g].scale[r] = step.scale;
      lanes[g].inverse[r] = step.inverse;
      lanes[g].minimum[r] = step.minimum;
    }
  return lanes;
}

void round_lanes(const Levels& levels, const StepLanes& steps, const float* values, float* level, float* rounded) {
  (levels.table ? round_table : round_whole)(levels, steps, values, level, rounded);
}

ATTAR_VECTOR_CLONES void multiply_lanes(const float* h, const float* x, int64_t n, float* out) {
  for (int64_t i = 0; i < n; ++i) {
    Lanes sum = {};
    for (int64_t k = 0; k < n; ++k)
      for (int r = 0; r < kRowLanes; ++r) sum[r] += h[i * n + k] * x[k * kRowLanes + r];
    std::copy_n(sum, kRowLanes, out + i * kRowLanes);
  }
}

}  // namespace attar::gptq
