// The tables of kernels that this machine can run, and numbers to try them on.
#pragma once

#include <cstdint>
#include <vector>

#include "runtime/base/random.h"
#include "runtime/kernels/kernels.h"

namespace attar::runtime {

inline std::vector<const Kernels*> fast_kernels() {
  std::vector<const Kernels*> all;
  for (const Isa isa : {Isa::Avx2, Isa::Avx512Vnni, Isa::Neon, Isa::NeonDot, Isa::NeonI8mm, Isa::Simd128})
    if (kernels_for(isa).isa == isa) all.push_back(&kernels_for(isa));
  return all;
}

inline std::vector<const Kernels*> all_kernels() {
  std::vector<const Kernels*> all = fast_kernels();
  all.push_back(&scalar_kernels());
  return all;
}

inline std::vector<Isa> all_isas() {
  std::vector<Isa> all;
  for (const Kernels* k : all_kernels()) all.push_back(k->isa);
  return all;
}

inline std::vector<float> random_floats(size_t n, uint64_t seed, double scale = 1.0) {
  const CounterRandom random(seed);
  std::vector<float> values(n);
  for (size_t i = 0; i < n; ++i) values[i] = static_cast<float>((random.uniform(i) * 2.0 - 1.0) * scale);
  return values;
}

}  // namespace attar::runtime
