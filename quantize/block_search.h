// The search of one group's scale, or scale and minimum, under weights. For a grid of levels l and weights w, the best
// scale of fixed codes is sum(w x l) / sum(w l^2), and the error it leaves is sum(w x^2) - sum(w x l)^2 / sum(w l^2):
// so a candidate scale only has to give codes, and least squares does the rest. Affine grids solve the 2 x 2 system for
// scale and minimum. Source: reference "quantization", section 2.1.
#pragma once

#include "runtime/formats/blocks/quant_format.h"

namespace attar {

// Levels that codes stand for: whole numbers from low to high, or the table of IQ4_NL.
struct Levels {
  float low, high;
  bool table;
};

// The scale of a symmetric group (n); codes follow from it. `tries` scales on either side of the one that fits the
// peak.
float symmetric_scale(const float* x, const float* w, int n, const Levels& levels, int tries);

struct Affine {
  float scale = 0, minimum = 0;
};
enum class Minimum { Any, AtMostZero };

// Scale and minimum of codes 0 .. levels - 1 for a group of 32.
Affine affine_fit(const float* x, const float* w, int levels, Minimum minimum);

// The scales of a super-block (256) of Q4_K and Q5_K, and of Q6_K.
BlockScales search_affine_super(const float* x, const float* w, int levels);
BlockScales search_symmetric_super(const float* x, const float* w);

// The scales of one block (block_size) of any type that has a grid.
BlockScales search_scales(const QuantFormat& format, const float* x, const float* w);

}  // namespace attar
