// Values that are nearly normal: sums of twelve uniform numbers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "runtime/base/random.h"

namespace attar {

inline std::vector<float> normal_row(size_t n, uint64_t seed) {
  const CounterRandom random(seed);
  std::vector<float> row(n);
  for (size_t i = 0; i < n; ++i)
    for (uint64_t k = 0; k < 12; ++k) row[i] += static_cast<float>(random.uniform(12 * i + k) - 0.5);
  return row;
}

}  // namespace attar
