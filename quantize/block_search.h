// The search of one group's scale, or scale and minimum, under weights. For a grid of levels l and weights w, the best
// scale of fixed codes is sum(w x l) / sum(w l^2), and the error it leaves is sum(w x^2) - sum(w x l)^2 / sum(w l^2):
// so a candidate scale only has to give codes, and least squares does the rest. Affine grids solve the 2 x 2 system for
// scale and minimum. Source: reference "quantization", section 2.1.
#pragma once

#include <cstddef>
#include <cstdint>

namespace attar {

// Levels that codes stand for: whole numbers from low to high, or the table of IQ4_NL.
struct Grid {
  float low, high;
  bool table;
};

// Level of each x * inverse. (n), n is 16 or 32
void assign_levels(const float* x, int n, float inverse, const Grid& grid, float* levels);

// The scale of a symmetric group (n); codes follow from it. `tries` scales on either side of the one that fits the
// peak.
float symmetric_scale(const float* x, const float* w, int n, const Grid& grid, int tries);

struct Affine {
  float scale = 0, minimum = 0;
};
enum class Minimum { Any, AtMostZero };

// Scale and minimum of codes 0 .. levels - 1 for a group of 32.
Affine affine_fit(const float* x, const float* w, int levels, Minimum minimum);

// One super-block of 256 values under weights: 144, 176, 210 bytes.
void search_q4_k(const float* x, const float* w, std::byte* block);
void search_q5_k(const float* x, const float* w, std::byte* block);
void search_q6_k(const float* x, const float* w, std::byte* block);

}  // namespace attar
