// Super-blocks of 256 values out of codebooks of 8 or 4 values with signs (IQ2, IQ3) or of ternary values (IQ1).
//   IQ2_XXS d qs[64]                    per 32: 4 grid bytes, then u32: 4 x 7 sign bits, scale s on top; d (.5 + s) / 4
//   IQ2_XS  d qs[64] scales[8]          u16: grid q & 511, signs q >> 9; nibble s per 16
//   IQ2_S   d qs[32] signs[32] qh[8] scales[8]
//   IQ3_XXS d qs[64] u32[8]             4 values a grid byte; u32 as IQ2_XXS; d (.5 + s) / 2
//   IQ3_S   d qs[64] qh[8] signs[32] scales[4]      ninth index bit in qh; d (1 + 2 s)
//   IQ1_S   d qs[32] qh[8 x u16]        d (2 s + 1) (grid +- 1/8)
//   IQ1_M   qs[32] qh[16] scales[4 x u16]           fp16 d in the four top nibbles
// A 7-bit sign index holds the signs of values 0-6; value 7's sign makes the number of minuses even.
#include <bit>

#include "runtime/formats/blocks/blocks.h"
#include "runtime/formats/blocks/lattice_grids.h"

namespace attar::blocks {
namespace {

constexpr int kSuper = 256;

int with_parity(int seven_bits) {
  return seven_bits | ((std::popcount(static_cast<unsigned>(seven_bits)) & 1) << 7);
}

void put_eight(float step, uint16_t point, int signs, float* out) {
  for (int j = 0; j < 8; ++j) {
    const float value = step * kLevels2[(point >> (2 * j)) & 3];
    out[j] = (signs >> j) & 1 ? -value : value;
  }
}

void put_four(float step, uint16_t point, const float* levels, int signs, float* out) {
  for (int j = 0; j < 4; ++j) {
    const float value = step * levels[(point >> (3 * j)) & 7];
    out[j] = (signs >> j) & 1 ? -value : value;
  }
}

// Sums grid point and shift first, as the reference does, then scales.
void put_ternary(float step, uint16_t point, float shift, float* out) {
  for (int j = 0; j < 8; ++j) out[j] = step * (kTernary[(point >> (2 * j)) & 3] + shift);
}

}  // namespace

void decode_iq2_xxs(const std::byte* block, int64_t n, float* out) {
  for (; n > 0; --n, block += 66, out += kSuper) {
    const float d = half_at(block, 0);
    for (int group = 0; group < 8; ++group) {
      const uint32_t word = u32_at(block, 2 + 8 * group + 4);
      const float step = d * (0.5f + static_cast<float>(word >> 28)) * 0.25f;
      for (int l = 0; l < 4; ++l)
        put_eight(step, kIq2XxsGrid[byte_at(block, 2 + 8 * group + l)], with_parity((word >> (7 * l)) & 127),
                  out + 32 * group + 8 * l);
    }
  }
}

void decode_iq2_xs(const std::byte* block, int64_t n, float* out) {
  for (; n > 0; --n, block += 74, out += kSuper) {
    const float d = half_at(block, 0);
    for (int i = 0; i < 32; ++i) {
      const int code = u16_at(block, 2 + 2 * i);
      const int scale = (byte_at(block, 66 + i / 4) >> (4 * (i / 2 % 2))) & 15;
      const float step = d * (0.5f + static_cast<float>(scale)) * 0.25f;
      put_eight(step, kIq2XsGrid[code & 511], with_parity(code >> 9), out + 8 * i);
    }
  }
}

void decode_iq2_s(const std::byte* block, int64_t n, float* out) {
  for (; n > 0; --n, block += 82, out += kSuper) {
    const float d = half_at(block, 0);
    for (int i = 0; i < 32; ++i) {
      const int high = (byte_at(block, 66 + i / 4) << (8 - 2 * (i % 4))) & 0x300;
      const int scale = (byte_at(block, 74 + i / 4) >> (4 * (i / 2 % 2))) & 15;
      const float step = d * (0.5f + static_cast<float>(scale)) * 0.25f;
      put_eight(step, kIq2SGrid[byte_at(block, 2 + i) | high], byte_at(block, 34 + i), out + 8 * i);
    }
  }
}

void decode_iq3_xxs(const std::byte* block, int64_t n, float* out) {
  for (; n > 0; --n, block += 98, out += kSuper) {
    const float d = half_at(block, 0);
    for (int group = 0; group < 8; ++group) {
      const uint32_t word = u32_at(block, 66 + 4 * group);
      const float step = d * (0.5f + static_cast<float>(word >> 28)) * 0.5f;
      for (int l = 0; l < 8; ++l) {
        const int signs = with_parity((word >> (7 * (l / 2))) & 127) >> (4 * (l % 2));
        put_four(step, kIq3XxsGrid[byte_at(block, 2 + 8 * group + l)], kLevels3Xxs, signs, out + 32 * group + 4 * l);
      }
    }
  }
}

void decode_iq3_s(const std::byte* block, int64_t n, float* out) {
  for (; n > 0; --n, block += 110, out += kSuper) {
    const float d = half_at(block, 0);
    for (int i = 0; i < 64; ++i) {
      const int high = ((byte_at(block, 66 + i / 8) >> (i % 8)) & 1) << 8;
      const int scale = (byte_at(block, 106 + i / 16) >> (4 * (i / 8 % 2))) & 15;
      const float step = d * static_cast<float>(1 + 2 * scale);
      const int signs = byte_at(block, 74 + i / 2) >> (4 * (i % 2));
      put_four(step, kIq3SGrid[byte_at(block, 2 + i) | high], kLevels3, signs, out + 4 * i);
    }
  }
}

void decode_iq1_s(const std::byte* block, int64_t n, float* out) {
  for (; n > 0; --n, block += 50, out += kSuper) {
    const float d = half_at(block, 0);
    for (int group = 0; group < 8; ++group) {
      const int high = u16_at(block, 34 + 2 * group);
      const float step = d * static_cast<float>(2 * ((high >> 12) & 7) + 1);
      const float shift = high & 0x8000 ? -kShift : kShift;
      for (int l = 0; l < 4; ++l) {
        const int index = byte_at(block, 2 + 4 * group + l) | (((high >> (3 * l)) & 7) << 8);
        put_ternary(step, kIq1SGrid[index], shift, out + 32 * group + 8 * l);
      }
    }
  }
}

void decode_iq1_m(const std::byte* block, int64_t n, float* out) {
  for (; n > 0; --n, block += 56, out += kSuper) {
    uint16_t d_bits = 0;
    for (int i = 0; i < 4; ++i) d_bits = static_cast<uint16_t>(d_bits | ((u16_at(block, 48 + 2 * i) >> 12) << (4 * i)));
    const float d = f16_to_f32(d_bits);
    for (int i = 0; i < 32; ++i) {
      const int scale = (u16_at(block, 48 + 2 * (i / 8)) >> (3 * (i / 2 % 4))) & 7;
      const int high = byte_at(block, 32 + i / 2) >> (4 * (i % 2));
      const float shift = high & 8 ? -kShift : kShift;
      put_ternary(d * static_cast<float>(2 * scale + 1), kIq1SGrid[byte_at(block, i) | ((high & 7) << 8)], shift,
                  out + 8 * i);
    }
  }
}

}  // namespace attar::blocks
