// Kernels for arm64 with the dot-product extension (FEAT_DotProd): Neoverse N1, Cortex-A76, Apple M1 and newer.
// Compiled with this instruction set's flags, so it includes nothing that holds inline functions of ours or of the
// standard library.
#include <arm_neon.h>
#include <stddef.h>

#include <cstdint>

#include "runtime/kernels/kernels.h"

#define ATTAR_INLINE inline __attribute__((always_inline))
#define ATTAR_INLINE_LAMBDA __attribute__((always_inline))

namespace attar::runtime {
namespace {

#include "runtime/kernels/kernels_arm64.inc"
#include "runtime/kernels/kernels_attention.inc"
#include "runtime/kernels/kernels_codes.inc"
#include "runtime/kernels/kernels_float.inc"

constexpr Kernels kTable = table_for(Isa::NeonDot);

}  // namespace

const Kernels& neon_dot_kernels() noexcept {
  return kTable;
}

}  // namespace attar::runtime
