// How much more or less one student diverges than another on the same positions.
#pragma once

#include <span>

namespace attar::runtime {

// Of the mean, with a 95 % interval from blocks of 64 neighbouring positions, which are not independent (Carlstein
// 1986, non-overlapping blocks). One block alone: an endless interval.
struct PairedDifference {
  double mean = 0, low = 0, high = 0;
};

// a, b (n): the same positions in order. mean(a - b).
PairedDifference paired_difference(std::span<const double> a, std::span<const double> b);

}  // namespace attar::runtime
