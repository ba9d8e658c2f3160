#include "runtime/judge/statistics/repeated_difference.h"

#include <algorithm>
#include <cmath>

namespace attar::runtime {
namespace {

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
  return reach95(repeats.size()) * std::sqrt(squares / (n - 1.0) / n);
}

}  // namespace

PairedDifference repeated_difference(std::span<const std::vector<WindowSum>> repeats) {
  std::vector<WindowSum> means = repeats.front();
  for (const std::vector<WindowSum>& windows : repeats.subspan(1))
    for (size_t w = 0; w < means.size(); ++w) means[w].value += windows[w].value;
  for (WindowSum& window : means) window.value /= static_cast<double>(repeats.size());
  const auto windows = static_cast<size_t>(
      std::count_if(means.begin(), means.end(), [](const WindowSum& window) { return window.size > 0.0; }));
  const double mean = mean_of(means);
  const double half = windows < 2
                          ? HUGE_VAL
                          : std::hypot(reach95(windows) * ratio_standard_error(means), half_of_repeats(repeats, mean));
  return {mean, mean - half, mean + half};
}

}  // namespace attar::runtime
