#include "quantize/grid/groups.h"

#include <algorithm>
#include <bit>

#include "runtime/base/fast_math.h"

namespace attar {
namespace {

#define ATTAR_INLINE inline __attribute__((always_inline))  // into a function of several instruction sets

template <bool kTable>
ATTAR_INLINE void add_scale_sums(const Groups& groups, const Lanes& inverse, const Levels& levels, ScaleSums& out) {
  const Levels own = levels;
  float cc[kLanes] = {}, cx[kLanes] = {};
  for (int j = 0; j < groups.width; ++j)
    for (int l = 0; l < kLanes; ++l) {
      const float x = groups.x[j * kLanes + l], c = own.nearest<kTable>(x * inverse.of[l]);
      const float wc = groups.w[j * kLanes + l] * c;
      cc[l] += wc * c;
      cx[l] += wc * x;
    }
  for (int l = 0; l < kLanes; ++l) out.cc[l] = cc[l], out.cx[l] = cx[l];
}
ATTAR_VECTOR_CLONES void whole_sums(const Groups& groups, const Lanes& inverse, const Levels& levels, ScaleSums& out) {
  add_scale_sums<false>(groups, inverse, levels, out);
}
ATTAR_VECTOR_CLONES void table_sums(const Groups& groups, const Lanes& inverse, const Levels& levels, ScaleSums& out) {
  add_scale_sums<true>(groups, inverse, levels, out);
}

template <bool kTable>
ATTAR_INLINE void add_affine_sums(const Groups& groups, const Affine& fit, const Levels& levels, AffineSums& out) {
  const Levels own = levels;
  float inverse[kLanes], error[kLanes] = {}, sum[kLanes] = {}, cc[kLanes] = {}, cx[kLanes] = {};
  for (int l = 0; l < kLanes; ++l) inverse[l] = fit.scale.of[l] != 0.0f ? 1.0f / fit.scale.of[l] : 0.0f;
  for (int j = 0; j < groups.width; ++j)
    for (int l = 0; l < kLanes; ++l) {
      const float x = groups.x[j * kLanes + l], w = groups.w[j * kLanes + l];
      const float c = own.nearest<kTable>((x - fit.minimum.of[l]) * inverse[l]);
      const float difference = fit.scale.of[l] * c + fit.minimum.of[l] - x, wc = w * c;
      error[l] += w * difference * difference;
      sum[l] += wc;
      cc[l] += wc * c;
      cx[l] += wc * x;
    }
  for (int l = 0; l < kLanes; ++l) out.error[l] = error[l], out.c[l] = sum[l], out.cc[l] = cc[l], out.cx[l] = cx[l];
}
ATTAR_VECTOR_CLONES void whole_sums(const Groups& groups, const Affine& fit, const Levels& levels, AffineSums& out) {
  add_affine_sums<false>(groups, fit, levels, out);
}
ATTAR_VECTOR_CLONES void table_sums(const Groups& groups, const Affine& fit, const Levels& levels, AffineSums& out) {
  add_affine_sums<true>(groups, fit, levels, out);
}

}  // namespace

Groups::Groups(int values_a_group) : width(values_a_group) {
  std::fill_n(x, width * kLanes, 0.0f);
  std::fill_n(w, width * kLanes, 1.0f);
}

ATTAR_VECTOR_CLONES void load_all(const float* values, int width, float* lanes) {
  for (int j = 0; j < width; ++j)
    for (int l = 0; l < kLanes; ++l) lanes[j * kLanes + l] = values[l * width + j];
}

void Groups::load(const float* values, int first, int count, float* lanes) {
  if (count == kLanes) return load_all(values, width, lanes);
  for (int l = 0; l < count; ++l)
    for (int j = 0; j < width; ++j) lanes[j * kLanes + first + l] = values[l * width + j];
}

ATTAR_VECTOR_CLONES void group_sums(const Groups& groups, GroupSums& out) {
  float w[kLanes] = {}, wx[kLanes] = {};
  for (int j = 0; j < groups.width; ++j)
    for (int l = 0; l < kLanes; ++l) {
      w[l] += groups.w[j * kLanes + l];
      wx[l] += groups.w[j * kLanes + l] * groups.x[j * kLanes + l];
    }
  for (int l = 0; l < kLanes; ++l) out.w.of[l] = w[l], out.wx.of[l] = wx[l];
}

ATTAR_VECTOR_CLONES void round_to_f16(const Lanes& values, Lanes& out) {
  for (int l = 0; l < kLanes; ++l) {
    const uint32_t bits = std::bit_cast<uint32_t>(values.of[l]), magnitude = bits & 0x7fffffffu;
    const float absolute = std::bit_cast<float>(magnitude);
    const uint32_t normal = (magnitude + 0xfffu + ((magnitude >> 13) & 1u)) & ~0x1fffu;  // halves to even
    const float subnormal = (absolute + 0.5f) - 0.5f;                                    // a unit of 0.5 is 2^-24
    const uint32_t finite = magnitude < 0x38800000u ? std::bit_cast<uint32_t>(subnormal) : normal;
    const uint32_t rounded = magnitude < 0x477ff000u ? finite : 0x7f800000u;
    out.of[l] = std::bit_cast<float>(rounded | (bits & 0x80000000u));
  }
}

void scale_sums(const Groups& groups, const Lanes& inverse, const Levels& levels, ScaleSums& out) {
  levels.table ? table_sums(groups, inverse, levels, out) : whole_sums(groups, inverse, levels, out);
}

void affine_sums(const Groups& groups, const Affine& fit, const Levels& levels, AffineSums& out) {
  levels.table ? table_sums(groups, fit, levels, out) : whole_sums(groups, fit, levels, out);
}

}  // namespace attar
