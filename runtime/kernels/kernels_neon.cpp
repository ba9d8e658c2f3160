// Kernels for arm64 with what each such processor has (Armv8.0). Like all files of one instruction set it includes
// nothing that holds inline functions of ours or of the standard library.
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

constexpr Kernels kTable = table_for(Isa::Neon);

}  // namespace

const Kernels& neon_kernels() noexcept {
  return kTable;
}

}  // namespace attar::runtime
