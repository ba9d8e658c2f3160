#include "runtime/judge/statistics/standard_error.h"

#include <cmath>
#include <limits>
#include <vector>

namespace attar::runtime {

double ratio_standard_error(std::span<const WindowSum> windows) {
  double value = 0.0, size = 0.0, n = 0.0;
  for (const WindowSum& window : windows) {
    value += window.value, size += window.size;
    n += window.size > 0.0 ? 1.0 : 0.0;
  }
  if (n < 2.0) return std::numeric_limits<double>::quiet_NaN();
  double squares = 0.0;
  for (const WindowSum& window : windows) {
    const double deviation = window.value - value / size * window.size;
    squares += deviation * deviation;
  }
  return std::sqrt(n / (n - 1.0) * squares) / size;
}

double window_standard_error(std::span<const double> values, std::span<const size_t> ends) {
  std::vector<WindowSum> windows;
  size_t begin = 0;
  for (const size_t end : ends) {
    WindowSum& window = windows.emplace_back();
    for (size_t i = begin; i < end; ++i) window.value += values[i];
    window.size = static_cast<double>(end - begin);
    begin = end;
  }
  return ratio_standard_error(windows);
}

}  // namespace attar::runtime
