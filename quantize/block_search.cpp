#include "quantize/block_search.h"

#include <algorithm>
#include <cmath>

#include "runtime/base/fast_math.h"
#include "runtime/formats/blocks/blocks.h"

namespace attar {
namespace {

using blocks::kIq4Values;

constexpr int kMaxGroup = 32;
constexpr int kRefinements = 4;
// How far beyond the grid's end the peak may lie: one whose weight is small is cut off.
constexpr float kClips[] = {1.2f, 1.5f, 2.0f, 2.7f};

ATTAR_VECTOR_CLONES void assign(const float* x, int n, float inverse, const Levels& grid, float* levels) {
  if (!grid.table) {
    for (int j = 0; j < n; ++j)
      levels[j] = std::min(grid.high, std::max(grid.low, (x[j] * inverse + 12582912.0f) - 12582912.0f));
    return;
  }
  for (int j = 0; j < n; ++j) levels[j] = static_cast<float>(kIq4Values[0]);
  for (int k = 1; k < 16; ++k) {
    const float middle = 0.5f * static_cast<float>(kIq4Values[k - 1] + kIq4Values[k]),
                step = static_cast<float>(kIq4Values[k] - kIq4Values[k - 1]);
    for (int j = 0; j < n; ++j) levels[j] += x[j] * inverse > middle ? step : 0.0f;
  }
}

struct Sums {
  float xl = 0, ll = 0;  // sum(w x l), sum(w l^2)
  float gain() const { return ll > 0.0f ? xl * xl / ll : 0.0f; }
  float scale() const { return ll > 0.0f ? xl / ll : 0.0f; }
};

ATTAR_VECTOR_CLONES Sums sums_of(const float* x, const float* w, const float* levels, int n) {
  float xl[16] = {}, ll[16] = {};
  for (int i = 0; i < n; i += 16)
    for (int j = 0; j < 16; ++j) {
      const float wl = w[i + j] * levels[i + j];
      xl[j] += wl * x[i + j];
      ll[j] += wl * levels[i + j];
    }
  Sums sums;
  for (int j = 0; j < 16; ++j) sums.xl += xl[j], sums.ll += ll[j];
  return sums;
}

}  // namespace

float symmetric_scale(const float* x, const float* w, int n, const Levels& grid, int tries) {
  float peak = 0.0f;
  for (int j = 0; j < n; ++j)
    if (std::fabs(x[j]) > std::fabs(peak)) peak = x[j];
  if (peak == 0.0f) return 0.0f;
  float levels[kMaxGroup];
  Sums best;
  const auto try_inverse = [&](float inverse) {
    assign(x, n, inverse, grid, levels);
    const Sums sums = sums_of(x, w, levels, n);
    const bool better = sums.gain() > best.gain();
    if (better) best = sums;
    return better;
  };
  const float unit = -grid.low / 80.0f;
  for (const float end : {grid.low, grid.high}) {
    for (int t = -tries; t <= tries; ++t) try_inverse((end + unit * static_cast<float>(t)) / peak);
    for (const float clip : kClips) try_inverse(clip * end / peak);
  }
  for (int i = 0; i < kRefinements && best.scale() != 0.0f; ++i)  // codes for the scale, scale for the codes
    if (!try_inverse(1.0f / best.scale())) break;
  return best.scale();
}

Affine affine_fit(const float* x, const float* w, int levels, Minimum minimum) {
  const bool negative_minimum = minimum == Minimum::AtMostZero;
  const auto [low, high] = std::minmax_element(x, x + 32);
  const float least = negative_minimum ? std::min(0.0f, *low) : *low, range = *high - least;
  if (range <= 0.0f) return {0.0f, least};
  double sw = 0, swx = 0;
  for (int j = 0; j < 32; ++j)
    sw += static_cast<double>(w[j]), swx += static_cast<double>(w[j]) * static_cast<double>(x[j]);
  Affine best{range / static_cast<float>(levels - 1), least};
  double best_error = HUGE_VAL;
  for (int t = -10; t <= 10; ++t) {
    Affine fit{
        range / (static_cast<float>(levels - 1) + 0.1f * static_cast<float>(t) * static_cast<float>(levels) / 16.0f),
        least};
    for (int round = 0; round < 3; ++round) {
      double sl = 0, sll = 0, sxl = 0, error = 0;
      float codes[32];
      const float inverse = fit.scale != 0.0f ? 1.0f / fit.scale : 0.0f;
      for (int j = 0; j < 32; ++j) {
        codes[j] = std::clamp(std::nearbyint((x[j] - fit.minimum) * inverse), 0.0f, static_cast<float>(levels - 1));
        const double difference = static_cast<double>(fit.scale * codes[j] + fit.minimum - x[j]);
        error += static_cast<double>(w[j]) * difference * difference;
        sl += static_cast<double>(w[j] * codes[j]), sll += static_cast<double>(w[j] * codes[j] * codes[j]),
            sxl += static_cast<double>(w[j] * codes[j] * x[j]);
      }
      if (error < best_error) best_error = error, best = fit;
      const double determinant = sw * sll - sl * sl;
      if (determinant <= 1e-20 * sw * sll) break;
      fit.scale = static_cast<float>((sw * sxl - sl * swx) / determinant);
      fit.minimum = static_cast<float>((swx - static_cast<double>(fit.scale) * sl) / sw);
      if (negative_minimum && fit.minimum > 0.0f) fit = {static_cast<float>(sxl / std::max(sll, 1e-30)), 0.0f};
    }
  }
  return best;
}

BlockScales search_scales(const QuantFormat& format, const float* x, const float* w) {
  const BlockCodes& codes = *format.codes;
  const Levels levels{static_cast<float>(codes.least), static_cast<float>(codes.most), codes.table != nullptr};
  switch (format.type) {
    case TensorType::Q4_K:
    case TensorType::Q5_K:
      return search_affine_super(x, w, codes.most + 1);
    case TensorType::Q6_K:
      return search_symmetric_super(x, w);
    case TensorType::Q4_1:
    case TensorType::Q5_1: {
      const Affine fit = affine_fit(x, w, codes.most + 1, Minimum::Any);
      return {.d = f32_to_f16(fit.scale), .dmin = f32_to_f16(fit.minimum)};
    }
    default:
      return {.d = f32_to_f16(symmetric_scale(x, w, 32, levels, format.type == TensorType::Q8_0 ? 2 : 9))};
  }
}

}  // namespace attar
