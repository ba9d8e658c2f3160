#include "runtime/kernels/kernels.h"

#include "runtime/base/host/cpu.h"

namespace attar::runtime {

const Kernels& kernels_for(Isa isa) {
  const CpuFeatures& cpu = cpu_features();
  if (isa == Isa::Avx512Vnni && cpu.avx512_vnni && avx512_kernels()) return *avx512_kernels();
  if (isa != Isa::Scalar && cpu.avx2 && avx2_kernels()) return *avx2_kernels();
  return scalar_kernels();
}

}  // namespace attar::runtime
