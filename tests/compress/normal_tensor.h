// Random matrices for tests of linear algebra.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>

#include <cstdint>

#include "runtime/base/random.h"

namespace attar {

// Nearly standard normal values: sums of twelve uniform ones. -> (rows, columns) f64
inline at::Tensor normal(int64_t rows, int64_t columns, uint64_t seed) {
  const CounterRandom random(seed);
  at::Tensor out = at::empty({rows, columns}, at::kDouble);
  for (int64_t i = 0; i < out.numel(); ++i) {
    double sum = -6.0;
    for (int64_t k = 0; k < 12; ++k) sum += random.uniform(static_cast<uint64_t>(12 * i + k));
    out.data_ptr<double>()[i] = sum;
  }
  return out;
}

}  // namespace attar
