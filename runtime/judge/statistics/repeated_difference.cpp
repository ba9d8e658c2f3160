#include "runtime/judge/statistics/repeated_difference.h"

#include <algorithm>
#include <cmath>
#include <iterator>

namespace attar::runtime {
namespace {

// 97.5 % quantiles of Student's t for 1, 2, ... degrees of freedom; the last stands for more, and is too wide for them.
constexpr double kStudent975[] = {12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228,
                                  2.201,  2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093};

double mean_of(const std::vector<WindowSum>& windows) {
  double value = 0.0, size = 0.0;
  for (const WindowSum& window : windows) value += window.value, size += window.size;
  return value / size;
}

// Half of the interval that the repeats alone would give.
double half_of_repeats(std::span<const std::vector<WindowSum>> repeats, double mean) {
  if (repeats.size() < 2) return 0.0;
  double squares = 0.0;
  for (const std::vector<WindowSum>& windows : repeats) {
    const double deviation = mean_of(windows) - mean;
    squares += deviation * deviation;
  }
  const auto n = static_cast<double>(repeats.size());
  const size_t freedom = std::min(repeats.size() - 1, std::size(kStudent975));
  return kStudent975[freedom - 1] * std::sqrt(squares / (n - 1.0) / n);
}

}  // namespace

PairedDifference repeated_difference(std::span<const std::vector<WindowSum>> repeats) {
  std::vector<WindowSum> means = repeats.front();
  for (const std::vector<WindowSum>& windows : repeats.subspan(1))
    for (size_t w = 0; w < means.size(); ++w) means[w].value += windows[w].value;
  for (WindowSum& window : means) window.value /= static_cast<double>(repeats.size());
  const double mean = mean_of(means), error = ratio_standard_error(means);
  const double half = std::isnan(error) ? HUGE_VAL : std::hypot(kNormal95 * error, half_of_repeats(repeats, mean));
  return {mean, mean - half, mean + half};
}

}  // namespace attar::runtime
