// Kernels for arm64 with the dot-product and the int8 matrix extension (FEAT_DotProd, FEAT_I8MM): Neoverse V1 and N2,
// Cortex-A710, Apple M2 and newer. Many rows are multiplied here, the rest by the dot product's table. Compiled with
// this instruction set's flags, so it includes nothing that holds inline functions of ours or of the standard library.
#include <arm_neon.h>
#include <stddef.h>

#include <cstdint>

#include "runtime/kernels/kernels.h"

#pragma GCC diagnostic ignored "-Wunused-function"  // of the loops that are taken from the other table

#define ATTAR_INLINE inline __attribute__((always_inline))
#define ATTAR_INLINE_LAMBDA __attribute__((always_inline))

namespace attar::runtime {
namespace {

#include "runtime/kernels/kernels_arm64.inc"

// Panels hold 8 columns of two rows of weights in 16 bytes, which smmla multiplies with two rows of activations.
ATTAR_INLINE void finish_panel(uint8_t* panel) {
  const auto pair = [](uint8x16_t x, uint8x16_t y, uint8_t* to) ATTAR_INLINE_LAMBDA {
    const uint32x4_t first = vreinterpretq_u32_u8(x), second = vreinterpretq_u32_u8(y);
    vst1q_u8(to, vreinterpretq_u8_u32(vzip1q_u32(first, second)));
    vst1q_u8(to + 16, vreinterpretq_u8_u32(vzip2q_u32(first, second)));
  };
  for (int i = 0; i < 4; ++i, panel += 128) {
    const Bytes x = load_bytes(panel), y = load_bytes(panel + 64);
    pair(x.a, y.a, panel);
    pair(x.b, y.b, panel + 32);
    pair(x.c, y.c, panel + 64);
    pair(x.d, y.d, panel + 96);
  }
}

// Two rows of activations against 16 of weights: of the latter's i-th pair, 2 x 2 sums.
struct PairSums {
  int32x4_t of[8];
};
ATTAR_INLINE Ints first_row(const PairSums& s) {
  return {vuzp1q_s32(s.of[0], s.of[1]), vuzp1q_s32(s.of[2], s.of[3]), vuzp1q_s32(s.of[4], s.of[5]),
          vuzp1q_s32(s.of[6], s.of[7])};
}
ATTAR_INLINE Ints second_row(const PairSums& s) {
  return {vuzp2q_s32(s.of[0], s.of[1]), vuzp2q_s32(s.of[2], s.of[3]), vuzp2q_s32(s.of[4], s.of[5]),
          vuzp2q_s32(s.of[6], s.of[7])};
}
// Of NC rows of activations, kQuads * 4 columns; of an odd one a sum in two is not used.
template <int kQuads, int NC>
ATTAR_INLINE void pair_dots(const uint8_t* panel, const int8_t* codes, int64_t stride, Ints (&dots)[NC]) {
  constexpr int kPairs = (NC + 1) / 2;
  PairSums sums[kPairs] = {};
#pragma GCC unroll 4
  for (int k = 0; k < kQuads / 2; ++k) {
    int8x16_t x[kPairs];
#pragma GCC unroll 2
    for (int p = 0; p < kPairs; ++p) {
      const int8_t* row = codes + 2 * p * stride + 8 * k;
      x[p] = vcombine_s8(vld1_s8(row), vld1_s8(2 * p + 1 < NC ? row + stride : row));
    }
#pragma GCC unroll 8
    for (int i = 0; i < 8; ++i) {
      const int8x16_t w = as_signed(vld1q_u8(panel + 128 * k + 16 * i));
#pragma GCC unroll 2
      for (int p = 0; p < kPairs; ++p) sums[p].of[i] = vmmlaq_s32(sums[p].of[i], w, x[p]);
    }
  }
#pragma GCC unroll 2
  for (int p = 0; p < kPairs; ++p) {
    dots[2 * p] = first_row(sums[p]);
    if (2 * p + 1 < NC) dots[2 * p + 1] = second_row(sums[p]);
  }
}

#include "runtime/kernels/kernels_codes.inc"

Kernels with_pairs(Kernels table) noexcept {
  table.isa = Isa::NeonI8mm;
  table.unpack = unpack;
  table.gemm = gemm;
  return table;
}

}  // namespace

const Kernels& neon_i8mm_kernels() noexcept {
  static const Kernels table = with_pairs(neon_dot_kernels());
  return table;
}

}  // namespace attar::runtime
