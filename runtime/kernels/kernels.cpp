#include "runtime/kernels/kernels.h"

#include "runtime/base/cpu.h"

namespace attar::runtime {

const TileTraits kTileTraits[kTileFormats] = {
    // code_bits, scale_bytes, has_min, half, table
    {32, 0, false, false, false},  // F32
    {16, 0, false, false, false},  // F16
    {16, 0, false, false, false},  // BF16
    {4, 2, false, false, false},   // U4
    {4, 2, true, false, false},    // U4Min
    {4, 4, true, false, false},    // U4Min32
    {4, 2, false, false, true},    // Table4
    {4, 4, false, false, true},    // Table4_32
    {5, 2, false, false, false},   // U5
    {5, 2, true, false, false},    // U5Min
    {5, 4, true, false, false},    // U5Min32
    {8, 2, false, false, false},   // I8
    {8, 4, false, false, false},   // I8_32
    {8, 4, false, true, false},    // I8Half
    {8, 4, true, true, false},     // I8HalfMin
};

const Kernels& kernels_for(Isa isa) {
  const CpuFeatures& cpu = cpu_features();
  if (isa == Isa::Avx512Vnni && cpu.avx512_vnni && avx512_kernels()) return *avx512_kernels();
  if (isa != Isa::Scalar && cpu.avx2 && avx2_kernels()) return *avx2_kernels();
  return scalar_kernels();
}

}  // namespace attar::runtime
