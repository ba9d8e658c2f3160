// The points of a lattice type, in two halves: the error of a point is the sum of its halves' errors, so sixteen groups
// side by side need one minimum a point and nothing else of it. Exact: every point is looked at.
#pragma once

#include <cstdint>
#include <vector>

#include "quantize/grid/groups.h"
#include "runtime/formats/blocks/quant_format.h"

namespace attar {

inline constexpr int kMostPoints = 8;  // of a group of 32

class Codebook {
 public:
  explicit Codebook(const LatticeCodes& codes);

  const LatticeCodes& codes() const { return *codes_; }
  int half() const { return codes_->values / 2; }
  int n_halves() const { return n_halves_; }
  int point_of(int first, int second) const {  // that there is
    return point_of_[static_cast<size_t>(first * n_halves_ + second)];
  }
  // What point `point` stands for: (values)
  const float* levels_of(int point) const { return levels_.data() + point * codes_->values; }

  // The first halves that points have, and the second halves of those points: seconds()[begin .. end), times kLanes.
  struct Run {
    int first;
    size_t begin, end;
  };
  const std::vector<Run>& runs() const { return runs_; }
  const std::vector<uint16_t>& seconds() const { return seconds_; }

 private:
  const LatticeCodes* codes_;
  int n_halves_;
  std::vector<int16_t> point_of_;  // (n_halves, n_halves); -1: none
  std::vector<float> levels_;      // (n_points, values)
  std::vector<Run> runs_;
  std::vector<uint16_t> seconds_;
};

// That of a type; made when it is first asked for.
const Codebook& codebook_of(const QuantFormat& format);

// What sixteen groups' codes are: points, of types with shifts whether those are down, and what they stand for before
// they are scaled, without signs.
struct LatticeLanes {
  float codes[32 * kLanes];               // value j of group l at [j * kLanes + l]
  uint16_t points[kMostPoints * kLanes];  // point p of group l at [p * kLanes + l]
  uint8_t shifted[kMostPoints * kLanes];
};

// The points of least error sum(w (step c - x)^2). Where codes have signs, groups.x is what is left without them; where
// they have shifts, the better of the two.
void nearest_points(const Codebook& book, const Groups& groups, const Lanes& steps, LatticeLanes& out);

// The same of groups whose shifts are taken off already: no code has one.
void nearest_unshifted(const Codebook& book, const Groups& groups, const Lanes& steps, LatticeLanes& out);

// Of sixteen groups' eights i, minuses of group l at [i * kLanes + l].
struct EightSigns {
  uint8_t minuses[4 * kLanes] = {};
};
// Takes them off the groups' values. Where minuses have to be even and are not, the value of least weight times
// magnitude goes with the wrong one.
void take_signs(const LatticeCodes& codes, Groups& groups, EightSigns& out);

}  // namespace attar
