// Super-blocks of 256 values (K-quants, IQ4_XS, Q8_K).
//   Q2_K  scales[16] qs[64] d dmin          16 groups of 16: d (sc & 15) q - dmin (sc >> 4)
//   Q3_K  hmask[32] qs[64] scales[12] d     16 groups of 16: d (sc - 32) (q - (hbit ? 0 : 4))
//   Q4_K  d dmin scales[12] qs[128]          8 groups of 32: d sc q - dmin m
//   Q5_K  d dmin scales[12] qh[32] qs[128]   as Q4_K, bit i of qh[l] = fifth bit in group i
//   Q6_K  ql[128] qh[64] scales[16] d       16 groups of 16: d sc (q - 32)
//   IQ4_XS d scales_h scales_l[4] qs[128]    8 groups of 32: d (ls - 32) table[q]
#include <algorithm>
#include <bit>
#include <cmath>

#include "runtime/formats/blocks/blocks.h"

namespace attar::blocks {
namespace {

constexpr int kSuper = 256;

int q3_scale(const std::byte* s, int j) {
  const int low = j < 8 ? byte_at(s, j) & 15 : byte_at(s, j - 8) >> 4;
  const int high = (byte_at(s, 8 + (j & 3)) >> (2 * (j >> 2))) & 3;
  return (low | (high << 4)) - 32;
}

// Affine codes of 32 values: scale and -minimum (>= 0), the range from min(0, lowest) to the highest.
void affine_group(const float* values, int levels, float& scale, float& minimum) {
  const auto [low, high] = std::minmax_element(values, values + 32);
  const float least = std::min(0.0f, *low);
  scale = *high > least ? (*high - least) / static_cast<float>(levels - 1) : 0.0f;
  minimum = -least;
}

// Six-bit codes of eight scales or minimums, and the super-block's fp16 step.
float six_bit(const float values[8], uint8_t codes[8], uint16_t& step_bits) {
  const float most = *std::max_element(values, values + 8);
  step_bits = f32_to_f16(most / 63.0f);
  const float step = f16_to_f32(step_bits);
  for (int j = 0; j < 8; ++j)
    codes[j] = step > 0.0f ? static_cast<uint8_t>(std::clamp(std::nearbyint(values[j] / step), 0.0f, 63.0f)) : 0;
  return step;
}

// What Q4_K and Q5_K share: d, dmin, the 12 packed bytes and one code for each value.
void encode_affine_super(const float* values, int levels, std::byte* block, uint8_t codes[kSuper]) {
  float scales[8], minimums[8];
  for (int j = 0; j < 8; ++j) affine_group(values + 32 * j, levels, scales[j], minimums[j]);
  uint8_t scale_codes[8], minimum_codes[8];
  uint16_t d_bits = 0, dmin_bits = 0;
  const float d = six_bit(scales, scale_codes, d_bits);
  const float dmin = six_bit(minimums, minimum_codes, dmin_bits);
  put_u16(block, 0, d_bits);
  put_u16(block, 2, dmin_bits);
  pack_scales_mins(scale_codes, minimum_codes, block + 4);
  for (int i = 0; i < kSuper; ++i) {
    const float step = d * static_cast<float>(scale_codes[i / 32]);
    const float low = dmin * static_cast<float>(minimum_codes[i / 32]);
    const float code = step > 0.0f ? std::nearbyint((values[i] + low) / step) : 0.0f;
    codes[i] = static_cast<uint8_t>(std::clamp(code, 0.0f, static_cast<float>(levels - 1)));
  }
}

// Per 64 values: 32 low nibbles, then 32 high ones.
void put_k_nibbles(const uint8_t codes[kSuper], std::byte* qs) {
  for (int half = 0; half < 4; ++half)
    for (int l = 0; l < 32; ++l)
      qs[32 * half + l] = static_cast<std::byte>((codes[64 * half + l] & 15) | ((codes[64 * half + 32 + l] & 15) << 4));
}

}  // namespace

void unpack_scale_min(const std::byte* s, int j, int& scale, int& minimum) {
  if (j < 4) {
    scale = byte_at(s, j) & 63;
    minimum = byte_at(s, j + 4) & 63;
  } else {
    scale = (byte_at(s, j + 4) & 15) | ((byte_at(s, j - 4) >> 6) << 4);
    minimum = (byte_at(s, j + 4) >> 4) | ((byte_at(s, j) >> 6) << 4);
  }
}

void pack_scales_mins(const uint8_t scales[8], const uint8_t minimums[8], std::byte* packed) {
  for (int j = 0; j < 4; ++j) {
    packed[j] = static_cast<std::byte>(scales[j] | ((scales[j + 4] >> 4) << 6));
    packed[j + 4] = static_cast<std::byte>(minimums[j] | ((minimums[j + 4] >> 4) << 6));
    packed[j + 8] = static_cast<std::byte>((scales[j + 4] & 15) | ((minimums[j + 4] & 15) << 4));
  }
}

void decode_q2_k(const std::byte* block, int64_t n, float* out) {
  for (; n > 0; --n, block += 84, out += kSuper) {
    const float d = half_at(block, 80), dmin = half_at(block, 82);
    for (int i = 0; i < kSuper; ++i) {
      const int code = byte_at(block, i / 16);
      const int q = (byte_at(block, 16 + 32 * (i / 128) + i % 32) >> (2 * (i % 128 / 32))) & 3;
      out[i] = d * static_cast<float>(code & 15) * static_cast<float>(q) - dmin * static_cast<float>(code >> 4);
    }
  }
}

void decode_q3_k(const std::byte* block, int64_t n, float* out) {
  for (; n > 0; --n, block += 110, out += kSuper) {
    const float d = half_at(block, 108);
    for (int i = 0; i < kSuper; ++i) {
      const int shift = 2 * (i % 128 / 32);
      const int q = (byte_at(block, 32 + 32 * (i / 128) + i % 32) >> shift) & 3;
      const bool high = (byte_at(block, i % 32) >> (4 * (i / 128) + shift / 2)) & 1;
      out[i] = d * static_cast<float>(q3_scale(block + 96, i / 16)) * static_cast<float>(q - (high ? 0 : 4));
    }
  }
}

void decode_q4_k(const std::byte* block, int64_t n, float* out) {
  for (; n > 0; --n, block += 144, out += kSuper) {
    const float d = half_at(block, 0), dmin = half_at(block, 2);
    for (int group = 0; group < 8; ++group) {
      int sc = 0, m = 0;
      unpack_scale_min(block + 4, group, sc, m);
      const float step = d * static_cast<float>(sc), low = dmin * static_cast<float>(m);
      const std::byte* qs = block + 16 + 32 * (group / 2);
      for (int l = 0; l < 32; ++l) {
        const int q = group % 2 == 0 ? byte_at(qs, l) & 15 : byte_at(qs, l) >> 4;
        out[32 * group + l] = step * static_cast<float>(q) - low;
      }
    }
  }
}

void decode_q5_k(const std::byte* block, int64_t n, float* out) {
  for (; n > 0; --n, block += 176, out += kSuper) {
    const float d = half_at(block, 0), dmin = half_at(block, 2);
    for (int group = 0; group < 8; ++group) {
      int sc = 0, m = 0;
      unpack_scale_min(block + 4, group, sc, m);
      const float step = d * static_cast<float>(sc), low = dmin * static_cast<float>(m);
      const std::byte* qs = block + 48 + 32 * (group / 2);
      for (int l = 0; l < 32; ++l) {
        const int nibble = group % 2 == 0 ? byte_at(qs, l) & 15 : byte_at(qs, l) >> 4;
        const int high = (byte_at(block, 16 + l) >> group) & 1;
        out[32 * group + l] = step * static_cast<float>(nibble | (high << 4)) - low;
      }
    }
  }
}

void decode_q6_k(const std::byte* block, int64_t n, float* out) {
  for (; n > 0; --n, block += 210, out += kSuper) {
    const float d = half_at(block, 208);
    for (int i = 0; i < kSuper; ++i) {
      const int half = i / 128, within = i % 128;
      const int low = byte_at(block, 64 * half + within % 64);
      const int nibble = within < 64 ? low & 15 : low >> 4;
      const int high = (byte_at(block, 128 + 32 * half + within % 32) >> (2 * (within / 32))) & 3;
      const int scale = static_cast<int8_t>(byte_at(block, 192 + i / 16));
      out[i] = d * static_cast<float>(scale) * static_cast<float>((nibble | (high << 4)) - 32);
    }
  }
}

void decode_q8_k(const std::byte* block, int64_t n, float* out) {
  for (; n > 0; --n, block += 292, out += kSuper) {
    const float d = std::bit_cast<float>(u32_at(block, 0));
    for (int i = 0; i < kSuper; ++i) out[i] = d * static_cast<float>(static_cast<int8_t>(byte_at(block, 4 + i)));
  }
}

void decode_iq4_xs(const std::byte* block, int64_t n, float* out) {
  for (; n > 0; --n, block += 136, out += kSuper) {
    const float d = half_at(block, 0);
    const int high = u16_at(block, 2);
    for (int group = 0; group < 8; ++group) {
      const int low = (byte_at(block, 4 + group / 2) >> (4 * (group & 1))) & 15;
      const float step = d * static_cast<float>((low | (((high >> (2 * group)) & 3) << 4)) - 32);
      for (int j = 0; j < 16; ++j) {
        const int q = byte_at(block, 8 + 16 * group + j);
        out[32 * group + j] = step * static_cast<float>(kIq4Values[q & 15]);
        out[32 * group + j + 16] = step * static_cast<float>(kIq4Values[q >> 4]);
      }
    }
  }
}

void encode_q4_k(const float* values, int64_t n, std::byte* block) {
  uint8_t codes[kSuper];
  for (; n > 0; --n, values += kSuper, block += 144) {
    encode_affine_super(values, 16, block, codes);
    put_k_nibbles(codes, block + 16);
  }
}

void encode_q5_k(const float* values, int64_t n, std::byte* block) {
  uint8_t codes[kSuper];
  for (; n > 0; --n, values += kSuper, block += 176) {
    encode_affine_super(values, 32, block, codes);
    for (int l = 0; l < 32; ++l) {
      int high = 0;
      for (int group = 0; group < 8; ++group) high |= (codes[32 * group + l] >> 4) << group;
      block[16 + l] = static_cast<std::byte>(high);
    }
    put_k_nibbles(codes, block + 48);
  }
}

void encode_q6_k(const float* values, int64_t n, std::byte* block) {
  for (; n > 0; --n, values += kSuper, block += 210) {
    float scales[16];
    float most = 0.0f;
    for (int group = 0; group < 16; ++group) {
      float peak = 0.0f;
      for (int l = 0; l < 16; ++l)
        if (std::fabs(values[16 * group + l]) > std::fabs(peak)) peak = values[16 * group + l];
      scales[group] = peak / -32.0f;
      if (std::fabs(scales[group]) > std::fabs(most)) most = scales[group];
    }
    const uint16_t d_bits = f32_to_f16(most / -128.0f);
    const float d = f16_to_f32(d_bits);
    uint8_t codes[kSuper];
    for (int group = 0; group < 16; ++group) {
      const float code = d == 0.0f ? 0.0f : std::clamp(std::nearbyint(scales[group] / d), -128.0f, 127.0f);
      block[192 + group] = static_cast<std::byte>(static_cast<int8_t>(code));
      const float step = d * code;
      for (int l = 0; l < 16; ++l) {
        const float q = step == 0.0f ? 0.0f : std::nearbyint(values[16 * group + l] / step);
        codes[16 * group + l] = static_cast<uint8_t>(std::clamp(q, -32.0f, 31.0f) + 32.0f);
      }
    }
    for (int half = 0; half < 2; ++half) {
      const uint8_t* c = codes + 128 * half;
      for (int l = 0; l < 64; ++l) block[64 * half + l] = static_cast<std::byte>((c[l] & 15) | ((c[l + 64] & 15) << 4));
      for (int l = 0; l < 32; ++l)
        block[128 + 32 * half + l] = static_cast<std::byte>((c[l] >> 4) | ((c[l + 32] >> 4) << 2) |
                                                            ((c[l + 64] >> 4) << 4) | ((c[l + 96] >> 4) << 6));
    }
    put_u16(block, 208, d_bits);
  }
}

}  // namespace attar::blocks
