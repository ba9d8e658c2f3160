// Types for trained low-bit weights: ternary, binary and four-bit floats.
//   TQ1_0 qs[48] qh[4] d   base-3 digits: digit n of a byte is (((byte * 3^n) mod 256) * 3) >> 8; d (t - 1)
//   TQ2_0 qs[64] d         per 32 bytes, value l * 32 + m at shift 2l; d (q - 1); q = 3 can be read, no encoder writes
//   it MXFP4 e qs[16]         shared exponent E8M0; table of E2M1 NVFP4 d[4] qs[32]      UE4M3 scale for 16 values; low
//   nibbles 0-7, high 8-15 Q1_0  d qs[16]         128 values, bit ? d : -d        Q2_0  d qs[16]   64 values, d (q - 1)
#include <algorithm>
#include <cmath>

#include "runtime/formats/blocks/blocks.h"

namespace attar::blocks {
namespace {

constexpr int kPowersOf3[5] = {1, 3, 9, 27, 81};
constexpr int8_t kSigns[16] = {-1, -1, -1, -1, -1, -1, -1, -1, 1, 1, 1, 1, 1, 1, 1, 1};

int trit(int byte, int digit) {
  return ((((byte * kPowersOf3[digit]) & 255) * 3) >> 8) - 1;
}

// TQ1_0's weights in order: five digits of 32 bytes, five of 16, four of 4.
struct Run {
  int first, bytes, digits;  // its first byte, how many, and digits of each
};
constexpr Run kRuns[] = {{0, 32, 5}, {32, 16, 5}, {48, 4, 4}};

void read_tq1_0(const std::byte* blocks, int64_t i, CodeBlock* out) {
  const std::byte* block = blocks + i / 8 * 54;
  set_scale(out, half_at(block, 52));
  const Run* run = kRuns;
  int place = 32 * static_cast<int>(i % 8);  // within the run
  for (; place >= run->bytes * run->digits; ++run) place -= run->bytes * run->digits;
  for (int l = 0; l < 32; ++l, ++place) {
    if (place == run->bytes * run->digits) ++run, place = 0;
    out->codes[l] = static_cast<int8_t>(trit(byte_at(block, run->first + place % run->bytes), place / run->bytes));
  }
}
// The digits of a byte are those of byte / 256 in base 3, so the fifth part is rounded up.
void write_tq1_0(const int8_t* codes, std::byte* block) {
  for (const Run& run : kRuns) {
    for (int m = 0; m < run.bytes; ++m) {
      int number = 0;
      for (int digit = 0; digit < 5; ++digit)
        number = 3 * number + (digit < run.digits ? codes[run.bytes * digit + m] + 1 : 0);
      block[run.first + m] = static_cast<std::byte>((number * 256 + 242) / 243);
    }
    codes += run.digits * run.bytes;
  }
}
// The F16 that it ends with, or begins with.
template <int kOffset>
void read_d(const std::byte* block, BlockScales* out) {
  out->d = u16_at(block, kOffset);
}
void write_scale_tq1_0(const BlockScales& scales, std::byte* block) {
  put_u16(block, 52, scales.d);
}

void read_tq2_0(const std::byte* blocks, int64_t i, CodeBlock* out) {
  const std::byte* block = blocks + i / 8 * 66;
  set_scale(out, half_at(block, 64));
  for (int l = 0; l < 32; ++l) out->codes[l] = static_cast<int8_t>(two_bits(block, static_cast<int>(i % 8), l) - 1);
}
void write_tq2_0(const int8_t* codes, std::byte* block) {
  put_two_bits(codes, 1, block);
}
void write_scale_tq2_0(const BlockScales& scales, std::byte* block) {
  put_u16(block, 64, scales.d);
}

void read_mxfp4(const std::byte* blocks, int64_t i, CodeBlock* out) {
  const std::byte* block = blocks + 17 * i;
  set_scale(out, e8m0_half(byte_at(block, 0)));
  read_table(block + 1, kE2m1, out);
}
void write_mxfp4(const int8_t* codes, std::byte* block) {
  put_table(codes, kE2m1Index, 16, block + 1);
}
void read_scale_mxfp4(const std::byte* block, BlockScales* out) {
  std::memcpy(out->scales, block, 1);
}
void write_scale_mxfp4(const BlockScales& scales, std::byte* block) {
  block[0] = static_cast<std::byte>(scales.scales[0]);
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
void write_nvfp4(const int8_t* codes, std::byte* block) {
  for (int group = 0; group < 4; ++group) put_table(codes + 16 * group, kE2m1Index, 8, block + 4 + 8 * group);
}
void read_scales_nvfp4(const std::byte* block, BlockScales* out) {
  std::memcpy(out->scales, block, 4);
}
void write_scales_nvfp4(const BlockScales& scales, std::byte* block) {
  std::memcpy(block, scales.scales, 4);
}

void read_q1_0(const std::byte* blocks, int64_t i, CodeBlock* out) {
  const std::byte* block = blocks + i / 4 * 18;
  const std::byte* qs = block + 2 + i % 4 * 4;
  set_scale(out, half_at(block, 0));
  for (int l = 0; l < 32; ++l) out->codes[l] = (byte_at(qs, l / 8) >> (l % 8)) & 1 ? 1 : -1;
}
void write_q1_0(const int8_t* codes, std::byte* block) {
  for (int i = 0; i < 16; ++i) {
    int byte = 0;
    for (int bit = 0; bit < 8; ++bit) byte |= (codes[8 * i + bit] > 0 ? 1 : 0) << bit;
    block[2 + i] = static_cast<std::byte>(byte);
  }
}

void read_q2_0(const std::byte* blocks, int64_t i, CodeBlock* out) {
  const std::byte* block = blocks + i / 2 * 18;
  const std::byte* qs = block + 2 + i % 2 * 8;
  set_scale(out, half_at(block, 0));
  for (int l = 0; l < 32; ++l) out->codes[l] = static_cast<int8_t>(((byte_at(qs, l / 4) >> (2 * (l % 4))) & 3) - 1);
}
void write_q2_0(const int8_t* codes, std::byte* block) {
  for (int i = 0; i < 16; ++i) {
    int byte = 0;
    for (int k = 0; k < 4; ++k) byte |= (codes[4 * i + k] + 1) << (2 * k);
    block[2 + i] = static_cast<std::byte>(byte);
  }
}
void write_first_scale(const BlockScales& scales, std::byte* block) {
  put_u16(block, 0, scales.d);
}

// The largest magnitude is one step: TQ1_0, TQ2_0, Q2_0, whose code 2 stays unused.
template <int kSize>
BlockScales fit_ternary(const float* values, int8_t* codes) {
  const float d = std::fabs(signed_peak(values, kSize)), inverse = inverse_of(d);
  for (int j = 0; j < kSize; ++j) codes[j] = static_cast<int8_t>(std::round(values[j] * inverse));
  return {.d = f32_to_f16(d)};
}

BlockScales fit_signs(const float* values, int8_t* codes) {
  float sum = 0.0f;
  for (int j = 0; j < 128; ++j) sum += std::fabs(values[j]), codes[j] = values[j] >= 0.0f ? 1 : -1;
  return {.d = f32_to_f16(sum / 128.0f)};
}

// The exponent that brings the largest magnitude between 4 and 8, of which 6 is the highest level.
BlockScales fit_exponent(const float* values, int8_t* codes) {
  const float peak = std::fabs(signed_peak(values, 32));
  const int e = peak > 0.0f ? std::clamp(std::ilogb(peak) - 2 + 127, 0, 254) : 0;
  for (int j = 0; j < 32; ++j) codes[j] = nearest_of(kE2m1, values[j] / e8m0_half(e));
  BlockScales fit;
  fit.scales[0] = static_cast<int8_t>(e);
  return fit;
}

// The largest magnitude is the highest level, 6.
BlockScales fit_ue4m3(const float* values, int8_t* codes) {
  BlockScales fit;
  for (int group = 0; group < 4; ++group, values += 16, codes += 16) {
    const float wanted = std::fabs(signed_peak(values, 16)) / 12.0f;
    int best = 0;
    for (int code = 1; code < 0x7f; ++code)
      if (std::fabs(ue4m3_half(code) - wanted) <= std::fabs(ue4m3_half(best) - wanted)) best = code;
    fit.scales[group] = static_cast<int8_t>(best);
    for (int j = 0; j < 16; ++j) codes[j] = nearest_of(kE2m1, values[j] * inverse_of(ue4m3_half(best)));
  }
  return fit;
}

}  // namespace

constexpr BlockCodes kTq1_0{-1, 1, nullptr, read_tq1_0, read_d<52>, write_tq1_0, write_scale_tq1_0};
constexpr BlockCodes kTq2_0{-1, 1, nullptr, read_tq2_0, read_d<64>, write_tq2_0, write_scale_tq2_0};
constexpr BlockCodes kMxfp4{-12, 12, kE2m1, read_mxfp4, read_scale_mxfp4, write_mxfp4, write_scale_mxfp4};
constexpr BlockCodes kNvfp4{-12, 12, kE2m1, read_nvfp4, read_scales_nvfp4, write_nvfp4, write_scales_nvfp4};
constexpr BlockCodes kQ1_0{-1, 1, kSigns, read_q1_0, read_d<0>, write_q1_0, write_first_scale};
constexpr BlockCodes kQ2_0{-1, 2, nullptr, read_q2_0, read_d<0>, write_q2_0, write_first_scale};

void encode_tq1_0(const float* values, int64_t n, std::byte* block) {
  encode_codes<kTq1_0, 256, 54>(values, n, block, fit_ternary<256>);
}
void encode_tq2_0(const float* values, int64_t n, std::byte* block) {
  encode_codes<kTq2_0, 256, 66>(values, n, block, fit_ternary<256>);
}
void encode_mxfp4(const float* values, int64_t n, std::byte* block) {
  encode_codes<kMxfp4, 32, 17>(values, n, block, fit_exponent);
}
void encode_nvfp4(const float* values, int64_t n, std::byte* block) {
  encode_codes<kNvfp4, 64, 36>(values, n, block, fit_ue4m3);
}
void encode_q1_0(const float* values, int64_t n, std::byte* block) {
  encode_codes<kQ1_0, 128, 18>(values, n, block, fit_signs);
}
void encode_q2_0(const float* values, int64_t n, std::byte* block) {
  encode_codes<kQ2_0, 64, 18>(values, n, block, fit_ternary<64>);
}

}  // namespace attar::blocks
