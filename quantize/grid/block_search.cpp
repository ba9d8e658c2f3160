#include "quantize/grid/block_search.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <span>

#include "runtime/base/fast_math.h"
#include "runtime/base/half.h"
#include "runtime/formats/blocks/blocks.h"

namespace attar {
namespace {

// What a symmetric search tries. Where the peak may lie: `tries` places on either side of the last level, `spacing` of
// it apart, and `clips` far beyond it, so that a peak whose weight is small is cut off, or `rungs` of a ladder from
// below it to far beyond; then `refinements` rounds of codes for the scale, scale for the codes.
struct Effort {
  int tries;
  float spacing;
  int clips, rungs, refinements;
};
constexpr Effort kMost{9, 1.0f / 40.0f, 4, 0, 2};
constexpr Effort kOfBytes{2, 1.0f / 80.0f, 0, 0, 1};  // of eight bits little is left to gain
constexpr Effort kOfThreeBits{4, 1.0f / 18.0f, 2, 0, 2};
constexpr Effort kOfTwoBits{0, 0.0f, 0, 16, 3};  // most of a wide block lies within one step
constexpr Effort kOfSigns{0, 0.0f, 0, 0, 0};     // any scale gives the same codes
constexpr float kClips[] = {1.2f, 1.5f, 2.0f, 2.7f};
constexpr float kFirstRung = 0.6f, kRungs = 1.25f;

const Effort& effort_for(const Levels& levels) {
  if (levels.most > 126.0f) return kOfBytes;
  if (levels.most > 3.0f) return kMost;
  if (levels.most > 2.0f) return kOfThreeBits;
  return levels.table ? kOfSigns : kOfTwoBits;
}

ATTAR_VECTOR_CLONES void find_range(const Groups& groups, Lanes& lowest, Lanes& highest) {
  float low[kLanes], high[kLanes];
  for (int l = 0; l < kLanes; ++l) low[l] = high[l] = groups.x[l];
  for (int j = 1; j < groups.width; ++j)
    for (int l = 0; l < kLanes; ++l) {
      low[l] = std::min(low[l], groups.x[j * kLanes + l]);
      high[l] = std::max(high[l], groups.x[j * kLanes + l]);
    }
  for (int l = 0; l < kLanes; ++l) lowest.of[l] = low[l], highest.of[l] = high[l];
}

ATTAR_VECTOR_CLONES void divide(float value, const Lanes& divisor, Lanes& out) {
  for (int l = 0; l < kLanes; ++l) out.of[l] = divisor.of[l] != 0.0f ? value / divisor.of[l] : 0.0f;
}

// The best scales so far, and what they gain: sum(w x^2) less the error.
struct BestScales {
  Lanes gain{}, scale{};
};
ATTAR_VECTOR_CLONES void take_better(const ScaleSums& sums, BestScales& best) {
  for (int l = 0; l < kLanes; ++l) {
    const float cc = sums.cc.of[l], cx = sums.cx.of[l], scale = cc > 0.0f ? cx / cc : 0.0f, gain = cx * scale;
    const bool better = gain > best.gain.of[l];
    best.gain.of[l] = better ? gain : best.gain.of[l];
    best.scale.of[l] = better ? scale : best.scale.of[l];
  }
}

// The best fits so far, their error, and least squares of scale and minimum to the codes that `fit` gave.
struct BestFits {
  Affine fit;
  Lanes error;
};
ATTAR_VECTOR_CLONES void take_better_and_refit(const AffineSums& sums, const GroupSums& group, bool at_most_zero,
                                               BestFits& best, Affine& fit) {
  for (int l = 0; l < kLanes; ++l) {
    const bool better = sums.error.of[l] < best.error.of[l];
    best.error.of[l] = better ? sums.error.of[l] : best.error.of[l];
    best.fit.scale.of[l] = better ? fit.scale.of[l] : best.fit.scale.of[l];
    best.fit.minimum.of[l] = better ? fit.minimum.of[l] : best.fit.minimum.of[l];
    const float w = group.w.of[l], wx = group.wx.of[l], c = sums.c.of[l], cc = sums.cc.of[l], cx = sums.cx.of[l];
    const float determinant = w * cc - c * c;
    const bool solvable = determinant > 1e-5f * w * cc;  // else all codes are one
    const float scale = solvable ? (w * cx - c * wx) / determinant : fit.scale.of[l];
    const float minimum = solvable ? (wx - scale * c) / w : fit.minimum.of[l];
    const bool positive = at_most_zero && minimum > 0.0f;
    fit.scale.of[l] = positive ? cx / std::max(cc, 1e-30f) : scale;
    fit.minimum.of[l] = positive ? 0.0f : minimum;
  }
}

ATTAR_VECTOR_CLONES void take_if_better(const Lanes& own, const Affine& other, const Lanes& others, Affine& fit) {
  for (int l = 0; l < kLanes; ++l) {
    const bool stays = own.of[l] <= others.of[l];
    fit.scale.of[l] = stays ? fit.scale.of[l] : other.scale.of[l];
    fit.minimum.of[l] = stays ? fit.minimum.of[l] : other.minimum.of[l];
  }
}

// Of both the one that leaves less error once it is rounded to F16.
Affine better_in_f16(const Groups& groups, const Levels& levels, const Fits& fits) {
  Affine best, other;
  round_to_f16(fits.searched.scale, best.scale), round_to_f16(fits.searched.minimum, best.minimum);
  round_to_f16(fits.plain.scale, other.scale), round_to_f16(fits.plain.minimum, other.minimum);
  AffineSums own, others;
  affine_sums(groups, best, levels, own);
  affine_sums(groups, other, levels, others);
  take_if_better(own.error, other, others.error, best);
  return best;
}

constexpr Lanes kNoMinimum{
    {-0.0f, -0.0f, -0.0f, -0.0f, -0.0f, -0.0f, -0.0f, -0.0f, -0.0f, -0.0f, -0.0f, -0.0f, -0.0f, -0.0f, -0.0f, -0.0f}};

}  // namespace

Fits symmetric_fits(const Groups& groups, const Levels& levels) {
  const Effort& effort = effort_for(levels);
  Lanes low, high, peak;  // the value of largest magnitude, with its sign
  find_range(groups, low, high);
  for (int l = 0; l < kLanes; ++l) peak[l] = high[l] > -low[l] ? high[l] : low[l];
  BestScales best;
  const auto try_inverse = [&](float numerator, const Lanes& divisor) {
    Lanes inverse;
    ScaleSums sums;
    divide(numerator, divisor, inverse);
    scale_sums(groups, inverse, levels, sums);
    take_better(sums, best);
  };
  const auto try_end = [&](float end) {
    const float unit = -levels.least * effort.spacing;
    for (int t = -effort.tries; t <= effort.tries; ++t) try_inverse(end + unit * static_cast<float>(t), peak);
    for (int i = 0; i < effort.clips; ++i) try_inverse(kClips[i] * end, peak);
    float rung = kFirstRung * end;
    for (int i = 0; i < effort.rungs; ++i, rung *= kRungs) try_inverse(rung, peak);
  };
  try_end(levels.least);
  if (levels.most != -levels.least) try_end(levels.most);  // else its mirror image
  for (int i = 0; i < effort.refinements; ++i)
    try_inverse(1.0f, best.scale);  // codes for the scale, scale for the codes
  for (float& scale : peak.of) scale /= levels.least;
  return {{best.scale, kNoMinimum}, {peak, kNoMinimum}};
}

Fits affine_fits(const Groups& groups, const Levels& levels, Minimum minimum) {
  Lanes low, high;
  find_range(groups, low, high);
  Affine range;
  for (int l = 0; l < kLanes; ++l) {
    range.minimum[l] = minimum == Minimum::AtMostZero ? std::min(0.0f, low[l]) : low[l];
    range.scale[l] = std::max(0.0f, high[l] - range.minimum[l]) / levels.most;
  }
  GroupSums group;
  group_sums(groups, group);
  BestFits best{range, {}};
  for (float& error : best.error.of) error = HUGE_VALF;
  // From wider than the range, so that the codes at the ends stay unused, to narrower, so that values are cut off.
  const int widest = levels.most > 3.0f ? -12 : -10, narrowest = levels.most > 3.0f ? 5 : 10;
  for (int t = widest; t <= narrowest; ++t) {
    Affine fit = range;
    const float share = levels.most / (levels.most + 0.3f * static_cast<float>(t) * (levels.most + 1.0f) / 16.0f);
    for (float& scale : fit.scale.of) scale *= share;
    for (int round = 0; round < 3; ++round) {
      AffineSums sums;
      affine_sums(groups, fit, levels, sums);
      take_better_and_refit(sums, group, minimum == Minimum::AtMostZero, best, fit);
    }
  }
  return {best.fit, range};
}

namespace {

// The scales of `count` blocks with one F16 scale, and minimum.
void search_halves(const Groups& groups, const Levels& levels, int64_t count, BlockScales* out) {
  const bool affine = levels.least == 0.0f;
  const Affine fit = better_in_f16(groups, levels,
                                   affine ? affine_fits(groups, levels, Minimum::Any) : symmetric_fits(groups, levels));
  for (int l = 0; l < static_cast<int>(count); ++l) {
    out[l].d = f32_to_f16(fit.scale[l]);
    if (affine) out[l].dmin = f32_to_f16(fit.minimum[l]);
  }
}

// Scales of one byte: what each stands for, ascending from byte `first` on, and how many beside the one that brings the
// peak to the highest level are tried.
struct ByteScales {
  std::span<const float> values;
  int first, below, above;
};

struct BestBytes {
  Lanes error, place;
};
ATTAR_VECTOR_CLONES void take_better(const Lanes& error, const Lanes& place, BestBytes& best) {
  for (int l = 0; l < kLanes; ++l) {
    const bool better = error.of[l] < best.error.of[l];
    best.error.of[l] = better ? error.of[l] : best.error.of[l];
    best.place.of[l] = better ? place.of[l] : best.place.of[l];
  }
}

// The scales of `count` blocks, of `groups_a_block` bytes each.
void search_bytes(const Groups& groups, const Levels& levels, const ByteScales& scales, int groups_a_block,
                  int64_t count, BlockScales* out) {
  const auto last = static_cast<int>(scales.values.size()) - 1;
  Lanes low, high;
  find_range(groups, low, high);
  int middle[kLanes];
  for (int l = 0; l < kLanes; ++l) {
    const float peak = std::max(high[l], -low[l]) / levels.most;
    middle[l] =
        static_cast<int>(std::upper_bound(scales.values.begin(), scales.values.end(), peak) - scales.values.begin()) -
        1;
  }
  BestBytes best{};  // the middle, where all errors are too large for f32
  for (int l = 0; l < kLanes; ++l)
    best.error[l] = HUGE_VALF, best.place[l] = static_cast<float>(std::clamp(middle[l], 0, last));
  for (int move = -scales.below; move <= scales.above; ++move) {
    Affine fit{{}, kNoMinimum};
    Lanes place;
    for (int l = 0; l < kLanes; ++l) {
      const int at = std::clamp(middle[l] + move, 0, last);
      place[l] = static_cast<float>(at), fit.scale[l] = scales.values[static_cast<size_t>(at)];
    }
    AffineSums sums;
    affine_sums(groups, fit, levels, sums);
    take_better(sums.error, place, best);
  }
  for (int l = 0; l < static_cast<int>(count) * groups_a_block; ++l)
    out[l / groups_a_block].scales[l % groups_a_block] =
        static_cast<int8_t>(scales.first + static_cast<int>(best.place[l]));
}

template <size_t kCount, float (*kValue)(int), int kFirst>
constexpr std::array<float, kCount> values_of_bytes() {
  std::array<float, kCount> values{};
  for (size_t i = 0; i < kCount; ++i) values[i] = kValue(kFirst + static_cast<int>(i));
  return values;
}
constexpr auto kE8m0 = values_of_bytes<253, blocks::e8m0_half, 2>();  // below, a scale has no finite inverse
constexpr auto kUe4m3 = values_of_bytes<127, blocks::ue4m3_half, 0>();
constexpr ByteScales kExponents{kE8m0, 2, 2, 2};     // a quarter of the peak's to four times it
constexpr ByteScales kSmallFloats{kUe4m3, 0, 8, 8};  // half of the peak's to twice it

// Where a scale is not one F16 for the block.
struct TypeSearch {
  TensorType type;
  int width;  // of a group
  SuperLayout super;
  const ByteScales* bytes;  // nullptr: a super-block
};
constexpr TypeSearch kSearches[] = {
    {TensorType::Q2_K, 16, {16, 0.0f, 15.0f, true}, nullptr},
    {TensorType::Q3_K, 16, {16, -32.0f, 31.0f, false}, nullptr},
    {TensorType::Q4_K, 32, {8, 0.0f, 63.0f, true}, nullptr},
    {TensorType::Q5_K, 32, {8, 0.0f, 63.0f, true}, nullptr},
    {TensorType::Q6_K, 16, {16, -128.0f, 127.0f, false}, nullptr},
    {TensorType::IQ4_XS, 32, {8, -32.0f, 31.0f, false}, nullptr},
    {TensorType::MXFP4, 32, {}, &kExponents},
    {TensorType::NVFP4, 16, {}, &kSmallFloats},
};

}  // namespace

void load_blocks(std::span<const float> rows, std::span<const float> weights, int64_t block_size, int64_t first,
                 int64_t count, Groups& groups) {
  const auto groups_a_block = static_cast<int>(block_size / groups.width);
  const int64_t n_weight_blocks = static_cast<int64_t>(weights.size()) / block_size;
  groups.load(rows.data() + first * block_size, 0, static_cast<int>(count) * groups_a_block, groups.x);
  for (int64_t i = 0, next = 0; !weights.empty() && i < count; i += next) {  // as many as follow each other in a row
    const int64_t at = (first + i) % n_weight_blocks;
    next = std::min(count - i, n_weight_blocks - at);
    groups.load(weights.data() + at * block_size, static_cast<int>(i) * groups_a_block,
                static_cast<int>(next) * groups_a_block, groups.w);
  }
}

void search_scales(const QuantFormat& format, std::span<const float> rows, std::span<const float> weights,
                   BlockScales* out) {
  const int64_t n_blocks = static_cast<int64_t>(rows.size()) / format.block_size;
  const Levels levels(*format.codes);
  const auto* const own = std::find_if(std::begin(kSearches), std::end(kSearches),
                                       [&](const TypeSearch& row) { return row.type == format.type; });
  const bool half = own == std::end(kSearches);
  Groups groups(half ? static_cast<int>(format.block_size) : own->width);
  const auto groups_a_block = static_cast<int>(format.block_size / groups.width);
  const int64_t at_once = kLanes / groups_a_block;
  for (int64_t first = 0; first < n_blocks; first += at_once) {
    const int64_t count = std::min(at_once, n_blocks - first);
    load_blocks(rows, weights, format.block_size, first, count, groups);
    if (half)
      search_halves(groups, levels, count, out + first);
    else if (own->bytes != nullptr)
      search_bytes(groups, levels, *own->bytes, groups_a_block, count, out + first);
    else
      search_super(groups, levels, own->super, count, out + first);
  }
}

}  // namespace attar
