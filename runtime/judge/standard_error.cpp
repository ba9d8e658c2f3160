#include "runtime/judge/standard_error.h"

#include <cmath>
#include <limits>

namespace attar::runtime {

double window_standard_error(std::span<const double> values, std::span<const size_t> ends) {
  const auto n = static_cast<double>(values.size());
  double mean = 0.0;
  for (const double value : values) mean += value / n;
  double squares = 0.0, windows = 0.0;
  size_t begin = 0;
  for (const size_t end : ends) {
    double deviation = 0.0;  // of the window's sum from as many means
    for (size_t i = begin; i < end; ++i) deviation += values[i] - mean;
    squares += deviation * deviation;
    windows += end > begin ? 1.0 : 0.0;
    begin = end;
  }
  if (windows < 2.0) return std::numeric_limits<double>::quiet_NaN();
  return std::sqrt(windows / (windows - 1.0) * squares) / n;
}

}  // namespace attar::runtime
