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

void read_tq2_0(const std::byte* blocks, int64_t i, CodeBlock* out) {
  const std::byte* block = blocks + i / 8 * 66;
  const int group = static_cast<int>(i % 8), shift = 2 * (group % 4);
  const std::byte* qs = block + 32 * (group / 4);
  set_scale(out, half_at(block, 64));
  for (int l = 0; l < 32; ++l) out->codes[l] = static_cast<int8_t>(((byte_at(qs, l) >> shift) & 3) - 1);
}

void read_mxfp4(const std::byte* blocks, int64_t i, CodeBlock* out) {
  const std::byte* block = blocks + 17 * i;
  set_scale(out, e8m0_half(byte_at(block, 0)));
  read_table(block + 1, kE2m1, out);
}

void read_nvfp4(const std::byte* blocks, int64_t i, CodeBlock* out) {
  const std::byte* block = blocks + i / 2 * 36;
  set_scale(out, 0.0f);
  for (int h = 0; h < 2; ++h) {
    const int group = static_cast<int>(i % 2) * 2 + h;
    out->scale[h] = ue4m3_half(byte_at(block, group));
    for (int j = 0; j < 8; ++j) {
      const int q = byte_at(block, 4 + 8 * group + j);
      out->codes[16 * h + j] = kE2m1[q & 15];
      out->codes[16 * h + j + 8] = kE2m1[q >> 4];
    }
  }
}

void read_q1_0(const std::byte* blocks, int64_t i, CodeBlock* out) {
  const std::byte* block = blocks + i / 4 * 18;
  const std::byte* qs = block + 2 + i % 4 * 4;
  set_scale(out, half_at(block, 0));
  for (int l = 0; l < 32; ++l) out->codes[l] = (byte_at(qs, l / 8) >> (l % 8)) & 1 ? 1 : -1;
}

void read_q2_0(const std::byte* blocks, int64_t i, CodeBlock* out) {
  const std::byte* block = blocks + i / 2 * 18;
  const std::byte* qs = block + 2 + i % 2 * 8;
  set_scale(out, half_at(block, 0));
  for (int l = 0; l < 32; ++l) out->codes[l] = static_cast<int8_t>(((byte_at(qs, l / 4) >> (2 * (l % 4))) & 3) - 1);
}

}  // namespace

constexpr BlockCodes kTq2_0{-1, 2, nullptr, read_tq2_0};
constexpr BlockCodes kMxfp4{-12, 12, kE2m1, read_mxfp4};
constexpr BlockCodes kNvfp4{-12, 12, kE2m1, read_nvfp4};
constexpr BlockCodes kQ1_0{-1, 1, nullptr, read_q1_0};
constexpr BlockCodes kQ2_0{-1, 2, nullptr, read_q2_0};

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

}  // namespace attar::blocks
