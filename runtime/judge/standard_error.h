// How sure a mean over a text is: positions of one window see the same context and are not independent, so the error is
// that of the windows (the ratio estimator of cluster sampling: Cochran 1977, Sampling Techniques, 9A.1).
#pragma once

#include <cstddef>
#include <span>

namespace attar::runtime {

// values (N): positions in order; ends (W): how many of them the windows so far hold. A window may hold none.
// Fewer than two windows with positions: NaN, nothing is known.
double window_standard_error(std::span<const double> values, std::span<const size_t> ends);

}  // namespace attar::runtime
