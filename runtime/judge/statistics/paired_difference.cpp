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
  const double error = window_standard_error(differences, ends);
  const double half = std::isnan(error) ? HUGE_VAL : kNormal95 * error;
  return {mean, mean - half, mean + half};
}

}  // namespace attar::runtime
