// Super-blocks of 256 (Q4_K, Q5_K, Q6_K): groups whose scales are small whole numbers of one step a super-block. After
// each group's own best scale is rounded, two moves alternate while they help: every group tries the scales (and
// minimums) beside its own, and the steps are fitted anew by least squares to all codes.
#include <algorithm>
#include <cmath>

#include "quantize/block_search.h"
#include "runtime/base/fast_math.h"
#include "runtime/base/half.h"

namespace attar {
namespace {

constexpr int kRounds = 4;
constexpr float kScaleCodes = 63.0f;  // of Q4_K and Q5_K

// Codes that stand for step * code - low, with `least` <= code <= `most`.
struct GroupGrid {
  float step, low, least, most;
};

// -> sum of w (step * code - low - x)^2; the codes as (n) floats. n is 16 or 32
ATTAR_VECTOR_CLONES float round_group(const float* x, const float* w, int n, const GroupGrid& grid, float* codes) {
  const float inverse = grid.step != 0.0f ? 1.0f / grid.step : 0.0f;
  float errors[16] = {};
  for (int i = 0; i < n; i += 16)
    for (int j = 0; j < 16; ++j) {
      const float rounded = ((x[i + j] + grid.low) * inverse + 12582912.0f) - 12582912.0f;
      codes[i + j] = std::min(grid.most, std::max(grid.least, rounded));
      const float difference = grid.step * codes[i + j] - grid.low - x[i + j];
      errors[j] += w[i + j] * difference * difference;
    }
  float error = 0.0f;
  for (const float e : errors) error += e;
  return error;
}

// The nearest F16.
float as_half(float value) {
  return f16_to_f32(f32_to_f16(value));
}

// A super-block as it is decoded: group g of `width` values is d * scales[g] * code - dmin * minimums[g].
struct SuperBlock {
  float d = 0, dmin = 0;
  int scales[16] = {}, minimums[16] = {};
  float codes[256] = {};
  float error = HUGE_VALF;
};

struct SuperGrid {
  int width;                    // values a group: 16 or 32
  float least_code, most_code;  // of the values
  int least_scale, most_scale;  // of the groups
  GroupGrid group(const SuperBlock& block, int scale, int minimum) const {
    return {block.d * static_cast<float>(scale), block.dmin * static_cast<float>(minimum), least_code, most_code};
  }
};

// Each group takes the best of its own scale and minimum and those beside them.
void choose_scales(const float* x, const float* w, const SuperGrid& grid, SuperBlock& block) {
  block.error = 0.0f;
  for (int g = 0; g < 256 / grid.width; ++g) {
    const int at = g * grid.width, scale = block.scales[g], minimum = block.minimums[g];
    float best = HUGE_VALF, codes[32];
    const int reach = block.dmin > 0.0f ? 1 : 0;
    for (int s = std::max(grid.least_scale, scale - 1); s <= std::min(grid.most_scale, scale + 1); ++s)
      for (int m = std::max(0, minimum - reach); m <= std::min(static_cast<int>(kScaleCodes), minimum + reach); ++m) {
        const float error = round_group(x + at, w + at, grid.width, grid.group(block, s, m), codes);
        if (error >= best) continue;
        best = error, block.scales[g] = s, block.minimums[g] = m;
        std::copy(codes, codes + grid.width, block.codes + at);
      }
    block.error += best;
  }
}

// Least squares of the steps with all codes fixed, in double.
void refit_steps(const float* x, const float* w, const SuperGrid& grid, SuperBlock& block) {
  double aa = 0, ab = 0, bb = 0, ax = 0, bx = 0;
  for (int i = 0; i < 256; ++i) {
    const double weight = static_cast<double>(w[i]), value = static_cast<double>(x[i]),
                 a = static_cast<double>(block.scales[i / grid.width]) * static_cast<double>(block.codes[i]),
                 b = -static_cast<double>(block.minimums[i / grid.width]);
    aa += weight * a * a, ab += weight * a * b, bb += weight * b * b, ax += weight * a * value,
        bx += weight * b * value;
  }
  const double determinant = aa * bb - ab * ab;
  double d = 0.0, dmin = -1.0;
  if (determinant > 1e-12 * aa * bb) d = (ax * bb - bx * ab) / determinant, dmin = (aa * bx - ab * ax) / determinant;
  if (dmin < 0.0) {  // one of the two alone: there are no minimums, or they would change sign
    dmin = static_cast<double>(block.dmin);
    d = aa > 0.0 ? (ax - dmin * ab) / aa : 0.0;
  }
  if (d == 0.0 || (grid.least_scale == 0 && d < 0.0)) return;
  block.d = as_half(static_cast<float>(d)), block.dmin = as_half(static_cast<float>(dmin));
}

// From rounded scales to the best that the two moves find.
SuperBlock improved(const float* x, const float* w, const SuperGrid& grid, SuperBlock block) {
  SuperBlock best;
  for (int round = 0; round < kRounds; ++round) {
    choose_scales(x, w, grid, block);
    if (!(block.error < best.error)) break;
    best = block;
    refit_steps(x, w, grid, block);
  }
  return best;
}

// Codes of eight values that are at least 0, and their common step.
float rounded_scales(const float values[8], int codes[8]) {
  const float step = as_half(*std::max_element(values, values + 8) / kScaleCodes);
  for (int g = 0; g < 8; ++g)
    codes[g] = step > 0.0f ? static_cast<int>(std::clamp(std::nearbyint(values[g] / step), 0.0f, kScaleCodes)) : 0;
  return step;
}

BlockScales scales_of(const SuperBlock& found) {
  BlockScales scales{.d = f32_to_f16(found.d), .dmin = f32_to_f16(found.dmin)};
  std::copy(found.scales, found.scales + 16, scales.scales);
  std::copy(found.minimums, found.minimums + 16, scales.minimums);
  return scales;
}

}  // namespace

BlockScales search_affine_super(const float* x, const float* w, int levels) {
  const SuperGrid grid{32, 0.0f, static_cast<float>(levels - 1), 0, static_cast<int>(kScaleCodes)};
  float scales[8], minimums[8];
  for (int g = 0; g < 8; ++g) {
    const Affine fit = affine_fit(x + 32 * g, w + 32 * g, levels, Minimum::AtMostZero);
    scales[g] = std::max(0.0f, fit.scale), minimums[g] = std::max(0.0f, -fit.minimum);
  }
  SuperBlock first;
  first.d = rounded_scales(scales, first.scales), first.dmin = rounded_scales(minimums, first.minimums);
  return scales_of(improved(x, w, grid, first));
}

BlockScales search_symmetric_super(const float* x, const float* w) {
  constexpr SuperGrid kGrid{16, -32.0f, 31.0f, -128, 127};
  float scales[16], most = 0.0f;
  for (int g = 0; g < 16; ++g) {
    scales[g] = symmetric_scale(x + 16 * g, w + 16 * g, 16, {-32, 31, false}, 5);
    if (std::fabs(scales[g]) > std::fabs(most)) most = scales[g];
  }
  SuperBlock first;
  first.d = as_half(most / -128.0f);
  for (int g = 0; g < 16; ++g)
    first.scales[g] =
        first.d != 0.0f ? static_cast<int>(std::clamp(std::nearbyint(scales[g] / first.d), -128.0f, 127.0f)) : 0;
  return scales_of(improved(x, w, kGrid, first));
}

}  // namespace attar
