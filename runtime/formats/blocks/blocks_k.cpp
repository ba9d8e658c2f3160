// Super-blocks of 256 values (K types of four bits and more, Q8_K), and the plain scales of all super-blocks.
//   Q4_K  d dmin scales[12] qs[128]          8 groups of 32: d sc q - dmin m
//   Q5_K  d dmin scales[12] qh[32] qs[128]   as Q4_K, bit i of qh[l] = fifth bit in group i
//   Q6_K  ql[128] qh[64] scales[16] d       16 groups of 16: d sc (q - 32)
#include <algorithm>
#include <bit>
#include <cmath>

#include "runtime/formats/blocks/blocks.h"

namespace attar::blocks {
namespace {

constexpr int kSuper = 256;

// The group of 32 that part i of consecutive super-blocks is.
int group_of(int64_t i) {
  return static_cast<int>(i % 8);
}

// Scale and minimum of a group in the 12 bytes of six-bit numbers that Q4_K and Q5_K share.
int scale_of(const std::byte* s, int group) {
  return group < 4 ? byte_at(s, group) & 63 : (byte_at(s, group + 4) & 15) | ((byte_at(s, group - 4) >> 6) << 4);
}
int minimum_of(const std::byte* s, int group) {
  return group < 4 ? byte_at(s, group + 4) & 63 : (byte_at(s, group + 4) >> 4) | ((byte_at(s, group) >> 6) << 4);
}
void read_scale_and_minimum(const std::byte* block, int group, CodeBlock* out) {
  const auto scale = static_cast<float>(scale_of(block + 4, group));
  const auto minimum = static_cast<float>(minimum_of(block + 4, group));
  set_scale(out, half_at(block, 0) * scale, -(half_at(block, 2) * minimum));
}
void read_scales_and_minimums(const std::byte* block, BlockScales* out) {
  out->d = u16_at(block, 0), out->dmin = u16_at(block, 2);
  for (int group = 0; group < 8; ++group) {
    out->scales[group] = static_cast<int8_t>(scale_of(block + 4, group));
    out->minimums[group] = static_cast<int8_t>(minimum_of(block + 4, group));
  }
}

void write_scales_and_minimums(const BlockScales& scales, std::byte* block) {
  const int8_t *s = scales.scales, *m = scales.minimums;
  std::byte* packed = block + 4;
  put_u16(block, 0, scales.d);
  put_u16(block, 2, scales.dmin);
  for (int j = 0; j < 4; ++j) {
    packed[j] = static_cast<std::byte>(s[j] | ((s[j + 4] >> 4) << 6));
    packed[j + 4] = static_cast<std::byte>(m[j] | ((m[j + 4] >> 4) << 6));
    packed[j + 8] = static_cast<std::byte>((s[j + 4] & 15) | ((m[j + 4] & 15) << 4));
  }
}

// Per 64 values 32 bytes: low nibbles, then high ones.
void put_nibbles(const int8_t* codes, std::byte* qs) {
  for (int half = 0; half < 4; ++half)
    for (int l = 0; l < 32; ++l)
      qs[32 * half + l] = static_cast<std::byte>((codes[64 * half + l] & 15) | ((codes[64 * half + 32 + l] & 15) << 4));
}

void read_q4_k(const std::byte* blocks, int64_t i, CodeBlock* out) {
  const std::byte* block = blocks + i / 8 * 144;
  const int group = group_of(i), shift = 4 * (group % 2);
  const std::byte* qs = block + 16 + 32 * (group / 2);
  read_scale_and_minimum(block, group, out);
  for (int l = 0; l < 32; ++l) out->codes[l] = static_cast<int8_t>((byte_at(qs, l) >> shift) & 15);
}
void write_q4_k(const int8_t* codes, std::byte* block) {
  put_nibbles(codes, block + 16);
}

void read_q5_k(const std::byte* blocks, int64_t i, CodeBlock* out) {
  const std::byte* block = blocks + i / 8 * 176;
  const int group = group_of(i), shift = 4 * (group % 2);
  const std::byte* qs = block + 48 + 32 * (group / 2);
  read_scale_and_minimum(block, group, out);
  for (int l = 0; l < 32; ++l)
    out->codes[l] =
        static_cast<int8_t>(((byte_at(qs, l) >> shift) & 15) | (((byte_at(block, 16 + l) >> group) & 1) << 4));
}
void write_q5_k(const int8_t* codes, std::byte* block) {
  for (int l = 0; l < 32; ++l) {
    int high = 0;
    for (int group = 0; group < 8; ++group) high |= (codes[32 * group + l] >> 4) << group;
    block[16 + l] = static_cast<std::byte>(high);
  }
  put_nibbles(codes, block + 48);
}

void read_q6_k(const std::byte* blocks, int64_t i, CodeBlock* out) {
  const std::byte* block = blocks + i / 8 * 210;
  const int group = group_of(i), half = group / 4, quarter = group % 4;
  const std::byte *low = block + 64 * half + 32 * (quarter % 2), *high = block + 128 + 32 * half;
  for (int l = 0; l < 32; ++l) {
    const int nibble = (byte_at(low, l) >> (4 * (quarter / 2))) & 15;
    out->codes[l] = static_cast<int8_t>((nibble | (((byte_at(high, l) >> (2 * quarter)) & 3) << 4)) - 32);
  }
  set_scale(out, 0.0f);
  for (int h = 0; h < 2; ++h)
    out->scale[h] = half_at(block, 208) * static_cast<float>(static_cast<int8_t>(byte_at(block, 192 + 2 * group + h)));
}
void write_q6_k(const int8_t* codes, std::byte* block) {
  for (int half = 0; half < 2; ++half) {
    uint8_t c[128];
    for (int l = 0; l < 128; ++l) c[l] = static_cast<uint8_t>(codes[128 * half + l] + 32);
    for (int l = 0; l < 64; ++l) block[64 * half + l] = static_cast<std::byte>((c[l] & 15) | ((c[l + 64] & 15) << 4));
    for (int l = 0; l < 32; ++l)
      block[128 + 32 * half + l] = static_cast<std::byte>((c[l] >> 4) | ((c[l + 32] >> 4) << 2) |
                                                          ((c[l + 64] >> 4) << 4) | ((c[l + 96] >> 4) << 6));
  }
}
void read_scales_q6_k(const std::byte* block, BlockScales* out) {
  std::memcpy(out->scales, block + 192, 16);
  out->d = u16_at(block, 208);
}
void write_scales_q6_k(const BlockScales& scales, std::byte* block) {
  std::memcpy(block + 192, scales.scales, 16);
  put_u16(block, 208, scales.d);
}

// Whole multiples for a super-block's scales or minimums, so that `end` is that of the largest. -> the step, an F16
float whole_steps(const float* values, int n, float end, const SuperShape& shape, int8_t* whole, uint16_t& step_bits) {
  step_bits = f32_to_f16(signed_peak(values, n) / end);
  const float step = f16_to_f32(step_bits);
  for (int g = 0; g < n; ++g)
    whole[g] =
        step == 0.0f
            ? int8_t{0}
            : static_cast<int8_t>(std::clamp(std::nearbyint(values[g] / step), shape.least_scale, shape.most_scale));
  return step;
}

constexpr SuperShape kShapeQ4{32, 0, 15, 0.0f, 63.0f}, kShapeQ5{32, 0, 31, 0.0f, 63.0f},
    kShapeQ6{16, -32, 31, -128.0f, 127.0f};

}  // namespace

// Each group's range is from min(0, lowest) to the highest.
BlockScales fit_affine(const float* values, const SuperShape& shape, int8_t* codes) {
  const int n = kSuper / shape.width;
  const auto most = static_cast<float>(shape.most);
  float scales[16], minimums[16];
  for (int g = 0; g < n; ++g) {
    const float* group = values + shape.width * g;
    const auto [low, high] = std::minmax_element(group, group + shape.width);
    const float least = std::min(0.0f, *low);
    scales[g] = *high > least ? (*high - least) / most : 0.0f;
    minimums[g] = -least;
  }
  BlockScales fit;
  const float d = whole_steps(scales, n, shape.most_scale, shape, fit.scales, fit.d),
              dmin = whole_steps(minimums, n, shape.most_scale, shape, fit.minimums, fit.dmin);
  for (int i = 0; i < kSuper; ++i) {
    const float step = d * static_cast<float>(fit.scales[i / shape.width]);
    const float low = dmin * static_cast<float>(fit.minimums[i / shape.width]);
    const float code = step > 0.0f ? std::nearbyint((values[i] + low) / step) : 0.0f;
    codes[i] = static_cast<int8_t>(std::clamp(code, 0.0f, most));
  }
  return fit;
}

// Each group's value of largest magnitude is the lowest code.
BlockScales fit_symmetric(const float* values, const SuperShape& shape, int8_t* codes) {
  const int n = kSuper / shape.width;
  const auto least = static_cast<float>(shape.least), most = static_cast<float>(shape.most);
  float scales[16];
  for (int g = 0; g < n; ++g) scales[g] = signed_peak(values + shape.width * g, shape.width) / least;
  BlockScales fit;
  const float d = whole_steps(scales, n, shape.least_scale, shape, fit.scales, fit.d);
  for (int i = 0; i < kSuper; ++i) {
    const float step = d * static_cast<float>(fit.scales[i / shape.width]);
    const float code = step == 0.0f ? 0.0f : values[i] / step;
    codes[i] = shape.table != nullptr ? nearest_of(shape.table, code)
                                      : static_cast<int8_t>(std::clamp(std::nearbyint(code), least, most));
  }
  return fit;
}

constexpr BlockCodes kQ4K{0, 15, nullptr, read_q4_k, read_scales_and_minimums, write_q4_k, write_scales_and_minimums};
constexpr BlockCodes kQ5K{0, 31, nullptr, read_q5_k, read_scales_and_minimums, write_q5_k, write_scales_and_minimums};
constexpr BlockCodes kQ6K{-32, 31, nullptr, read_q6_k, read_scales_q6_k, write_q6_k, write_scales_q6_k};

void decode_q8_k(const std::byte* block, int64_t n, float* out) {
  for (; n > 0; --n, block += 292, out += kSuper) {
    const float d = std::bit_cast<float>(u32_at(block, 0));
    for (int i = 0; i < kSuper; ++i) out[i] = d * static_cast<float>(static_cast<int8_t>(byte_at(block, 4 + i)));
  }
}

void encode_q4_k(const float* values, int64_t n, std::byte* block) {
  encode_codes<kQ4K, 256, 144>(values, n, block,
                               [](const float* x, int8_t* codes) { return fit_affine(x, kShapeQ4, codes); });
}
void encode_q5_k(const float* values, int64_t n, std::byte* block) {
  encode_codes<kQ5K, 256, 176>(values, n, block,
                               [](const float* x, int8_t* codes) { return fit_affine(x, kShapeQ5, codes); });
}
void encode_q6_k(const float* values, int64_t n, std::byte* block) {
  encode_codes<kQ6K, 256, 210>(values, n, block,
                               [](const float* x, int8_t* codes) { return fit_symmetric(x, kShapeQ6, codes); });
}

}  // namespace attar::blocks
