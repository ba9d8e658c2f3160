// How much more or less one student diverges than another on the same positions, or does on the same items.
#pragma once

#include <cstddef>
#include <span>

namespace attar::runtime {

// Of the mean, with a 95 % interval from the windows' differences (standard_error.h). One window alone: an endless
// interval.
struct PairedDifference {
  double mean = 0, low = 0, high = 0;
};

// a, b (N): the same positions in order; ends (W): how many of them the windows so far hold. mean(a - b).
PairedDifference paired_difference(std::span<const double> a, std::span<const double> b, std::span<const size_t> ends);

}  // namespace attar::runtime
