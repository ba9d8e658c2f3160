// The search of scales under weights, of sixteen groups at once. For codes c and weights w the best scale is
// sum(w c x) / sum(w c^2), and the error that it leaves is sum(w x^2) - sum(w c x)^2 / sum(w c^2): so a candidate only
// has to give codes, and least squares does the rest. Affine grids solve the 2 x 2 system for scale and minimum. Sums
// are in float, over at most 32 values.
#pragma once

#include <cstdint>

#include "quantize/groups.h"
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

// Of `count` super-blocks (256); into the groups go 2 of Q4_K and Q5_K, 1 of Q6_K.
void search_affine_super(const Groups& groups, const Levels& levels, int64_t count, BlockScales* out);
void search_symmetric_super(const Groups& groups, const Levels& levels, int64_t count, BlockScales* out);

// The scales of `n_blocks` blocks of any type that has a grid. Block b has the weights of block b % n_weight_blocks, or
// none (nullptr).
void search_scales(const QuantFormat& format, const float* x, int64_t n_blocks, const float* w, int64_t n_weight_blocks,
                   BlockScales* out);

}  // namespace attar
