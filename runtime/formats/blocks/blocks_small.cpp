// Types for trained low-bit weights: ternary, binary and four-bit floats.
//   TQ1_0 qs[48] qh[4] d   base-3 digits: digit n of a byte is (((byte * 3^n) mod 256) * 3) >> 8; d (t - 1)
//   TQ2_0 qs[64] d         per 32 bytes, value l * 32 + m at shift 2l; d (q - 1)
//   MXFP4 e qs[16]         shared exponent E8M0; table of E2M1
//   NVFP4 d[4] qs[32]      UE4M3 scale for 16 values; low nibbles 0-7, high 8-15
//   Q1_0  d qs[16]         128 values, bit ? d : -d        Q2_0  d qs[16]   64 values, d (q - 1)
#include <bit>
#include <cmath>

#include "runtime/formats/blocks/blocks.h"

namespace attar::blocks {
namespace {

constexpr int8_t kE2m1[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};  // twice the value
constexpr int kPowersOf3[5] = {1, 3, 9, 27, 81};

float trit(int byte, int digit) {
  return static_cast<float>(((((byte * kPowersOf3[digit]) & 255) * 3) >> 8) - 1);
}

// 2^(e - 128), the half of an E8M0 scale, which makes up for the doubled table.
float e8m0_half(int e) {
  return std::bit_cast<float>(e < 2 ? 0x00200000u << e : static_cast<uint32_t>(e - 1) << 23);
}

float ue4m3_half(int code) {
  if (code == 0 || code == 0x7f) return 0.0f;
  const int exponent = (code >> 3) & 15, mantissa = code & 7;
  const float value = exponent == 0 ? static_cast<float>(mantissa) * 0x1p-9f
                                    : std::ldexp(1.0f + static_cast<float>(mantissa) / 8.0f, exponent - 7);
  return value * 0.5f;
}

}  // namespace

void decode_tq1_0(const std::byte* block, int64_t n, float* out) {
  for (; n > 0; --n, block += 54, out += 256) {
    const float d = half_at(block, 52);
    for (int digit = 0; digit < 5; ++digit)
      for (int m = 0; m < 32; ++m) out[32 * digit + m] = d * trit(byte_at(block, m), digit);
    for (int digit = 0; digit < 5; ++digit)
      for (int m = 0; m < 16; ++m) out[160 + 16 * digit + m] = d * trit(byte_at(block, 32 + m), digit);
    for (int digit = 0; digit < 4; ++digit)
      for (int m = 0; m < 4; ++m) out[240 + 4 * digit + m] = d * trit(byte_at(block, 48 + m), digit);
  }
}

void decode_tq2_0(const std::byte* block, int64_t n, float* out) {
  for (; n > 0; --n, block += 66, out += 256) {
    const float d = half_at(block, 64);
    for (int i = 0; i < 256; ++i) {
      const int q = (byte_at(block, 32 * (i / 128) + i % 32) >> (2 * (i % 128 / 32))) & 3;
      out[i] = d * static_cast<float>(q - 1);
    }
  }
}

void decode_mxfp4(const std::byte* block, int64_t n, float* out) {
  for (; n > 0; --n, block += 17, out += 32) {
    const float d = e8m0_half(byte_at(block, 0));
    for (int j = 0; j < 16; ++j) {
      const int q = byte_at(block, 1 + j);
      out[j] = d * static_cast<float>(kE2m1[q & 15]);
      out[j + 16] = d * static_cast<float>(kE2m1[q >> 4]);
    }
  }
}

void decode_nvfp4(const std::byte* block, int64_t n, float* out) {
  for (; n > 0; --n, block += 36, out += 64) {
    for (int group = 0; group < 4; ++group) {
      const float d = ue4m3_half(byte_at(block, group));
      for (int j = 0; j < 8; ++j) {
        const int q = byte_at(block, 4 + 8 * group + j);
        out[16 * group + j] = d * static_cast<float>(kE2m1[q & 15]);
        out[16 * group + j + 8] = d * static_cast<float>(kE2m1[q >> 4]);
      }
    }
  }
}

void decode_q1_0(const std::byte* block, int64_t n, float* out) {
  for (; n > 0; --n, block += 18, out += 128) {
    const float d = half_at(block, 0);
    for (int i = 0; i < 128; ++i) out[i] = (byte_at(block, 2 + i / 8) >> (i % 8)) & 1 ? d : -d;
  }
}

void decode_q2_0(const std::byte* block, int64_t n, float* out) {
  for (; n > 0; --n, block += 18, out += 64) {
    const float d = half_at(block, 0);
    for (int i = 0; i < 64; ++i)
      out[i] = d * static_cast<float>(((byte_at(block, 2 + i / 4) >> (2 * (i % 4))) & 3) - 1);
  }
}

}  // namespace attar::blocks
