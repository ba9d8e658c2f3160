#include "runtime/judge/statistics/paired_difference.h"

#include <cmath>
#include <vector>

#include "runtime/judge/statistics/standard_error.h"

namespace attar::runtime {

PairedDifference paired_difference(std::span<const double> a, std::span<const double> b, std::span<const size_t> ends) {
  std::vector<double> differences(a.size());
  double mean = 0.0;
  for (size_t i = 0; i < a.size(); ++i) {
    differences[i] = a[i] - b[i];
    mean += differences[i] / static_cast<double>(a.size());
  }
  size_t windows = 0, begin = 0;
  for (const size_t end : ends) {
    windows += end > begin ? 1 : 0;
    begin = end;
  }
  const double half = windows < 2 ? HUGE_VAL : reach95(windows) * window_standard_error(differences, ends);
  return {mean, mean - half, mean + half};
}

}  // namespace attar::runtime
