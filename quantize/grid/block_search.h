// The search of scales under weights, of sixteen groups at once. For codes c and weights w the best scale is
// sum(w c x) / sum(w c^2), and the error that it leaves is sum(w x^2) - sum(w c x)^2 / sum(w c^2): so a candidate only
// has to give codes, and least squares does the rest. Affine grids solve the 2 x 2 system for scale and minimum. Where
// a scale is a byte, the bytes near the peak's are all tried. Sums are in float, over one group's values.
#pragma once

#include <cstdint>
#include <span>

#include "quantize/grid/groups.h"
#include "runtime/formats/blocks/quant_format.h"

namespace attar {

// What the search finds, and what the plain encoders take.
struct Fits {
  Affine searched, plain;
};

// Symmetric groups, without minimums. Plain: the value of largest magnitude is the lowest level. Scales are 0 where all
// values are.
Fits symmetric_fits(const Groups& groups, const Levels& levels);

// Codes 0 .. levels.most, with minimums. Plain: from the lowest value to the highest.
enum class Minimum { Any, AtMostZero };
Fits affine_fits(const Groups& groups, const Levels& levels, Minimum minimum);

// How a super-block (256) stores what its groups have: whole multiples of one step, and of another for minimums.
struct SuperLayout {
  int groups_a_super;  // 8 or 16
  float least_scale, most_scale;
  bool minimums;
  int n_supers() const { return kLanes / groups_a_super; }  // that the groups hold
};
void search_super(const Groups& groups, const Levels& levels, const SuperLayout& layout, int64_t count,
                  BlockScales* out);

// `count` blocks of rows (n, in) from block `first` on, with their weights (in), or none where those are empty.
void load_blocks(std::span<const float> rows, std::span<const float> weights, int64_t block_size, int64_t first,
                 int64_t count, Groups& groups);

// The scales of every block of rows (n, in), of any type that has a grid, under weights (in) or none.
void search_scales(const QuantFormat& format, std::span<const float> rows, std::span<const float> weights,
                   BlockScales* out);

}  // namespace attar
