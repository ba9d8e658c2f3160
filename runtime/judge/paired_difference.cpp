#include "runtime/judge/paired_difference.h"

#include <algorithm>
#include <cmath>
#include <vector>

namespace attar::runtime {

PairedDifference paired_difference(std::span<const double> a, std::span<const double> b) {
  constexpr size_t kBlock = 64;
  std::vector<double> blocks;
  double total = 0.0;
  for (size_t begin = 0; begin < a.size(); begin += kBlock) {
    const size_t end = std::min(a.size(), begin + kBlock);
    double sum = 0.0;
    for (size_t i = begin; i < end; ++i) sum += a[i] - b[i];
    total += sum;
    blocks.push_back(sum / static_cast<double>(end - begin));
  }
  PairedDifference out{total / static_cast<double>(a.size()), 0, 0};
  double squares = 0.0;
  for (const double block : blocks) squares += (block - out.mean) * (block - out.mean);
  const auto n = static_cast<double>(blocks.size());
  const double half = n > 1 ? 1.96 * std::sqrt(squares / (n - 1) / n) : HUGE_VAL;
  out.low = out.mean - half, out.high = out.mean + half;
  return out;
}

}  // namespace attar::runtime
