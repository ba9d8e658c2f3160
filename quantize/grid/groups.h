// Groups of weights that share a scale, sixteen side by side: vectors run over groups, so a sum is one chain in the
// order of the columns, and every instruction set gives the same bits.
#pragma once

#include <cstdint>

#include "quantize/grid/levels.h"

namespace attar {

inline constexpr int kLanes = 16, kMostWidth = 256;

struct Groups {
  int width;                     // values a group: 16 to kMostWidth
  float x[kMostWidth * kLanes];  // value j of group l at [j * kLanes + l]
  float w[kMostWidth * kLanes];  // its weight

  explicit Groups(int values_a_group);  // all zero, of weight 1, up to its width
  // `count` groups that follow each other, (count * width), from lane `first` on: into x or w.
  void load(const float* values, int first, int count, float* lanes);
};

// One number for each of the groups.
struct Lanes {
  float of[kLanes];
  float& operator[](int lane) { return of[lane]; }
  float operator[](int lane) const { return of[lane]; }
};

// sum(w) and sum(w x)
struct GroupSums {
  Lanes w, wx;
};
void group_sums(const Groups& groups, GroupSums& out);

// The nearest F16s, as f32.
void round_to_f16(const Lanes& values, Lanes& out);

// What least squares needs of codes c that a scale gives: sum(w c^2), sum(w c x).
struct ScaleSums {
  Lanes cc, cx;
};
void scale_sums(const Groups& groups, const Lanes& inverse, const Levels& levels, ScaleSums& out);

// value = scale * code + minimum
struct Affine {
  Lanes scale, minimum;
};

// The same of scale and minimum, and the error that they leave: sum(w (scale c + minimum - x)^2).
struct AffineSums {
  Lanes error, c, cc, cx;
};
void affine_sums(const Groups& groups, const Affine& fit, const Levels& levels, AffineSums& out);

}  // namespace attar
