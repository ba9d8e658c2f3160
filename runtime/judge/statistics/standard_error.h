// How sure a mean over a text is: positions of one window see the same context and are not independent, so the error is
// that of the windows (the ratio estimator of cluster sampling: Cochran 1977, Sampling Techniques, 6.4 and 9A.1). Items
// of a task are independent: windows of one.
#pragma once

#include <cstddef>
#include <span>

namespace attar::runtime {

// What was found in a window, such as nats, and of how much it is a share, such as tokens or bytes.
struct WindowSum {
  double value = 0, size = 0;
};

// windows (W): of their values' sum over their sizes' sum. A window of size 0 is none. Fewer than two: NaN, nothing is
// known.
double ratio_standard_error(std::span<const WindowSum> windows);

// How many standard errors a 95 % interval reaches to each side of a mean of n values that the error was taken from
// too: the 97.5 % quantile of Student's t for n - 1 degrees of freedom. Infinity below two.
double reach95(size_t n);

// values (N): positions in order; ends (W): how many of them the windows so far hold. Of the mean.
double window_standard_error(std::span<const double> values, std::span<const size_t> ends);

}  // namespace attar::runtime
