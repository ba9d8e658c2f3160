// Kernels for WebAssembly with SIMD128. Like all files of one instruction set it includes nothing that holds inline
// functions of ours or of the standard library.
#include <stddef.h>
#include <wasm_simd128.h>

#include <cstdint>

#include "runtime/kernels/kernels.h"

#define ATTAR_INLINE inline __attribute__((always_inline))
#define ATTAR_INLINE_LAMBDA __attribute__((always_inline))

namespace attar::runtime {
namespace {

#include "runtime/kernels/kernels_wasm.inc"
// The loops over them.
#include "runtime/kernels/kernels_attention.inc"
#include "runtime/kernels/kernels_codes.inc"
#include "runtime/kernels/kernels_float.inc"

constexpr Kernels kTable = table_for(Isa::Simd128);

}  // namespace

const Kernels& wasm_kernels() noexcept {
  return kTable;
}

}  // namespace attar::runtime
