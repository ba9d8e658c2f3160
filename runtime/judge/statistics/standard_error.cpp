#include "runtime/judge/statistics/standard_error.h"

#include <cmath>
#include <iterator>
#include <limits>
#include <vector>

namespace attar::runtime {
namespace {

// 97.5 % quantiles of Student's t for 1, 2, ... degrees of freedom.
constexpr double kStudent975[] = {12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.3060, 2.2622, 2.2281};
constexpr double kNormal975 = 1.959964;

}  // namespace

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

// Above the table the series of Fisher and Cornish (Abramowitz and Stegun 1964, 26.7.5), right to 2e-4 there.
double reach95(size_t n) {
  if (n < 2) return std::numeric_limits<double>::infinity();
  if (n - 2 < std::size(kStudent975)) return kStudent975[n - 2];
  const double z = kNormal975, square = z * z, v = static_cast<double>(n - 1);
  const double first = z * (square + 1.0) / 4.0, second = z * ((5.0 * square + 16.0) * square + 3.0) / 96.0,
               third = z * (((3.0 * square + 19.0) * square + 17.0) * square - 15.0) / 384.0;
  return z + (first + (second + third / v) / v) / v;
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
