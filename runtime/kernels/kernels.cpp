#include "runtime/kernels/kernels.h"

#include "runtime/base/host/cpu.h"

namespace attar::runtime {

const Kernels& kernels_for(Isa isa) {
  [[maybe_unused]] const CpuFeatures& cpu = cpu_features();
#if defined(ATTAR_X86_KERNELS)
  if (isa == Isa::Avx512Vnni && cpu.avx512_vnni) return avx512_kernels();
  if ((isa == Isa::Avx512Vnni || isa == Isa::Avx2) && cpu.avx2) return avx2_kernels();
#elif defined(ATTAR_ARM64_KERNELS)
  if (isa == Isa::NeonI8mm && cpu.i8mm) return neon_i8mm_kernels();
  if ((isa == Isa::NeonI8mm || isa == Isa::NeonDot) && cpu.dot_product) return neon_dot_kernels();
  if (isa == Isa::NeonI8mm || isa == Isa::NeonDot || isa == Isa::Neon) return neon_kernels();
#elif defined(ATTAR_WASM_KERNELS)
  if (isa == Isa::Simd128) return wasm_kernels();
#endif
  return scalar_kernels();
}

}  // namespace attar::runtime
