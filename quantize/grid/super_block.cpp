// Super-blocks of 256 (K types, IQ4_XS): groups whose scales are small whole numbers of one step a super-block. After
// each group's own best scale is rounded, two moves alternate while they help: every group tries the scales (and
// minimums) beside its own, and the steps are fitted anew by least squares to all codes.
#include <algorithm>
#include <cmath>

#include "quantize/grid/block_search.h"
#include "runtime/base/fast_math.h"
#include "runtime/base/half.h"

namespace attar {
namespace {

constexpr int kRounds = 4;
constexpr int kMostSupers = 2;  // that sixteen groups make

// Super-blocks as they are decoded: group g is d * scales[g] * code - dmin * minimums[g].
struct SuperBlocks {
  float d[kMostSupers] = {}, dmin[kMostSupers] = {};
  Lanes scales{}, minimums{};  // whole numbers
  float error[kMostSupers] = {HUGE_VALF, HUGE_VALF};
};

// The nearest F16.
float as_half(float value) {
  return f16_to_f32(f32_to_f16(value));
}

// What each group multiplies its whole numbers with.
struct Steps {
  Lanes d, dmin;
};
Steps steps_of(const SuperBlocks& blocks, const SuperLayout& layout) {
  Steps steps;
  for (int l = 0; l < kLanes; ++l)
    steps.d[l] = blocks.d[l / layout.groups_a_super], steps.dmin[l] = blocks.dmin[l / layout.groups_a_super];
  return steps;
}

// What whole scales and minimums stand for when they are moved by `up` and `down`.
struct Candidate {
  Lanes scales, minimums;
  Affine fit;
};
ATTAR_VECTOR_CLONES void move(const SuperBlocks& blocks, const Steps& steps, const SuperLayout& layout, float up,
                              float down, Candidate& out) {
  const float least = layout.least_scale, most = layout.most_scale;
  for (int l = 0; l < kLanes; ++l) {
    const float scale = std::min(most, std::max(least, blocks.scales.of[l] + up)),
                minimum = std::min(most, std::max(0.0f, blocks.minimums.of[l] + down));
    out.scales.of[l] = scale, out.minimums.of[l] = minimum;
    out.fit.scale.of[l] = steps.d.of[l] * scale, out.fit.minimum.of[l] = -(steps.dmin.of[l] * minimum);
  }
}

struct Chosen {
  AffineSums sums;
  Lanes scales, minimums;
};
ATTAR_VECTOR_CLONES void take_better(const AffineSums& sums, const Candidate& candidate, Chosen& best) {
  for (int l = 0; l < kLanes; ++l) {
    const bool better = sums.error.of[l] < best.sums.error.of[l];
    best.sums.error.of[l] = better ? sums.error.of[l] : best.sums.error.of[l];
    best.sums.c.of[l] = better ? sums.c.of[l] : best.sums.c.of[l];
    best.sums.cc.of[l] = better ? sums.cc.of[l] : best.sums.cc.of[l];
    best.sums.cx.of[l] = better ? sums.cx.of[l] : best.sums.cx.of[l];
    best.scales.of[l] = better ? candidate.scales.of[l] : best.scales.of[l];
    best.minimums.of[l] = better ? candidate.minimums.of[l] : best.minimums.of[l];
  }
}

void add_errors(const Lanes& error, const SuperLayout& layout, SuperBlocks& blocks) {
  for (int s = 0; s < layout.n_supers(); ++s) blocks.error[s] = 0.0f;
  for (int l = 0; l < kLanes; ++l) blocks.error[l / layout.groups_a_super] += error[l];
}

// Each group takes the best of its own scale and minimum and those beside them. -> the sums of what it took
AffineSums choose_scales(const Groups& groups, const Levels& levels, const SuperLayout& layout, SuperBlocks& blocks) {
  const Steps steps = steps_of(blocks, layout);
  Chosen best{{}, blocks.scales, blocks.minimums};
  for (float& error : best.sums.error.of) error = HUGE_VALF;
  const int reach = layout.minimums ? 2 : 0;
  for (int up = -1; up <= 1; ++up)
    for (int down = -reach; down <= reach; ++down) {
      Candidate candidate;
      AffineSums sums;
      move(blocks, steps, layout, static_cast<float>(up), static_cast<float>(down), candidate);
      affine_sums(groups, candidate.fit, levels, sums);
      take_better(sums, candidate, best);
    }
  blocks.scales = best.scales, blocks.minimums = best.minimums;
  add_errors(best.sums.error, layout, blocks);
  return best.sums;
}

// Least squares of super-block s's steps with all codes fixed, in double.
void refit_steps(const AffineSums& sums, const GroupSums& group, const SuperLayout& layout, int s,
                 SuperBlocks& blocks) {
  double aa = 0, ab = 0, bb = 0, ax = 0, bx = 0;
  for (int l = s * layout.groups_a_super; l < (s + 1) * layout.groups_a_super; ++l) {
    const double a = static_cast<double>(blocks.scales[l]), b = -static_cast<double>(blocks.minimums[l]);
    aa += a * a * static_cast<double>(sums.cc[l]), ab += a * b * static_cast<double>(sums.c[l]),
        bb += b * b * static_cast<double>(group.w[l]), ax += a * static_cast<double>(sums.cx[l]),
        bx += b * static_cast<double>(group.wx[l]);
  }
  const double determinant = aa * bb - ab * ab;
  double d = 0.0, dmin = -1.0;
  if (determinant > 1e-5 * aa * bb) d = (ax * bb - bx * ab) / determinant, dmin = (aa * bx - ab * ax) / determinant;
  if (dmin < 0.0) {  // one of the two alone: there are no minimums, or they would change sign
    dmin = static_cast<double>(blocks.dmin[s]);
    d = aa > 0.0 ? (ax - dmin * ab) / aa : 0.0;
  }
  if (d == 0.0 || (layout.least_scale == 0.0f && d < 0.0)) return;
  blocks.d[s] = as_half(static_cast<float>(d)), blocks.dmin[s] = as_half(static_cast<float>(dmin));
}

void copy_super(const SuperBlocks& from, const SuperLayout& layout, int s, SuperBlocks& to) {
  to.d[s] = from.d[s], to.dmin[s] = from.dmin[s], to.error[s] = from.error[s];
  for (int l = s * layout.groups_a_super; l < (s + 1) * layout.groups_a_super; ++l)
    to.scales[l] = from.scales[l], to.minimums[l] = from.minimums[l];
}

// From rounded scales to the best that the two moves find; never worse than `plain`, which is taken as it is.
SuperBlocks improved(const Groups& groups, const Levels& levels, const SuperLayout& layout, SuperBlocks blocks,
                     const SuperBlocks& plain) {
  GroupSums group;
  group_sums(groups, group);
  SuperBlocks best = plain;
  AffineSums sums;
  Candidate unmoved;
  move(plain, steps_of(plain, layout), layout, 0.0f, 0.0f, unmoved);
  affine_sums(groups, unmoved.fit, levels, sums);
  add_errors(sums.error, layout, best);
  float last[kMostSupers] = {HUGE_VALF, HUGE_VALF};
  for (int round = 0; round < kRounds; ++round) {
    sums = choose_scales(groups, levels, layout, blocks);
    bool better = false;
    for (int s = 0; s < layout.n_supers(); ++s) {
      if (!(blocks.error[s] < last[s])) continue;
      better = true, last[s] = blocks.error[s];
      if (blocks.error[s] < best.error[s]) copy_super(blocks, layout, s, best);
      refit_steps(sums, group, layout, s, blocks);
    }
    if (!better) break;
  }
  return best;
}

void write(const SuperBlocks& found, const SuperLayout& layout, int64_t count, BlockScales* out) {
  for (int s = 0; s < static_cast<int>(count); ++s) {
    out[s] = {.d = f32_to_f16(found.d[s]), .dmin = f32_to_f16(found.dmin[s])};
    for (int g = 0; g < layout.groups_a_super; ++g) {
      out[s].scales[g] = static_cast<int8_t>(found.scales[s * layout.groups_a_super + g]);
      out[s].minimums[g] = static_cast<int8_t>(found.minimums[s * layout.groups_a_super + g]);
    }
  }
}

// Whole numbers for each super-block's values, and its step, so that the peak is `end` steps.
void round_to_steps(const Lanes& values, const SuperLayout& layout, float end, float* steps, Lanes& whole) {
  for (int s = 0; s < layout.n_supers(); ++s) {
    const int first = s * layout.groups_a_super, last = first + layout.groups_a_super;
    float peak = 0.0f;
    for (int l = first; l < last; ++l)
      if (std::fabs(values[l]) > std::fabs(peak)) peak = values[l];
    steps[s] = as_half(peak / end);
    for (int l = first; l < last; ++l)
      whole[l] = steps[s] != 0.0f
                     ? std::clamp(std::nearbyint(values[l] / steps[s]), layout.least_scale, layout.most_scale)
                     : 0.0f;
  }
}

SuperBlocks rounded(const Affine& fit, const SuperLayout& layout, float end) {
  SuperBlocks blocks;
  Lanes scale, minimum;
  for (int l = 0; l < kLanes; ++l)
    scale[l] = layout.minimums ? std::max(0.0f, fit.scale[l]) : fit.scale[l],
    minimum[l] = layout.minimums ? std::max(0.0f, -fit.minimum[l]) : 0.0f;
  round_to_steps(scale, layout, end, blocks.d, blocks.scales);
  if (layout.minimums) round_to_steps(minimum, layout, end, blocks.dmin, blocks.minimums);
  return blocks;
}

}  // namespace

void search_super(const Groups& groups, const Levels& levels, const SuperLayout& layout, int64_t count,
                  BlockScales* out) {
  const Fits fits = layout.minimums ? affine_fits(groups, levels, Minimum::AtMostZero) : symmetric_fits(groups, levels);
  const float end = layout.minimums ? layout.most_scale : layout.least_scale;
  write(improved(groups, levels, layout, rounded(fits.searched, layout, end), rounded(fits.plain, layout, end)), layout,
        count, out);
}

}  // namespace attar
