// Blocks of 32 values with one fp16 scale (and minimum). Low nibble of qs[j] is value j, high nibble value j + 16.
//   Q4_0  d qs[16]           d * (q - 8)          Q5_0  d qh[4] qs[16]    d * (q - 16), bit j of qh = fifth bit
//   Q4_1  d m qs[16]         d * q + m            Q5_1  d m qh[4] qs[16]  d * q + m
//   Q8_0  d qs[32]           d * q                Q8_1  d s qs[32]        d * q (activations)
//   IQ4_NL d qs[16]          d * table[q]
// The plain encoders are those of the `gguf` package (Q4_0: scale from the value of largest magnitude, over -8).
#include <algorithm>
#include <cmath>

#include "runtime/formats/blocks/blocks.h"

namespace attar::blocks {
namespace {

constexpr int kBlock = 32;

void put_nibbles(const uint8_t codes[kBlock], std::byte* qs) {
  for (int j = 0; j < 16; ++j) qs[j] = static_cast<std::byte>((codes[j] & 15) | ((codes[j + 16] & 15) << 4));
}

void put_fifth_bits(const uint8_t codes[kBlock], std::byte* qh) {
  uint32_t bits = 0;
  for (int j = 0; j < kBlock; ++j) bits |= static_cast<uint32_t>((codes[j] >> 4) & 1) << j;
  for (int i = 0; i < 4; ++i) qh[i] = static_cast<std::byte>((bits >> (8 * i)) & 0xff);
}

uint8_t clamp_code(float value, int most) {
  return static_cast<uint8_t>(std::min(static_cast<float>(most), std::max(0.0f, std::trunc(value))));
}

// The value of largest magnitude, with its sign; the first one on ties.
float signed_peak(const float* values) {
  float peak = 0.0f;
  for (int j = 0; j < kBlock; ++j)
    if (std::fabs(values[j]) > std::fabs(peak)) peak = values[j];
  return peak;
}

// q = trunc(x / d + offset), d = peak / -(offset - 0.5) : Q4_0 (8.5) and Q5_0 (16.5)
void symmetric_codes(const float* values, int levels, float& scale, uint8_t codes[kBlock]) {
  const float half = static_cast<float>(levels / 2);
  scale = signed_peak(values) / -half;
  const float inverse = scale == 0.0f ? 0.0f : 1.0f / scale;
  for (int j = 0; j < kBlock; ++j) codes[j] = clamp_code(values[j] * inverse + half + 0.5f, levels - 1);
}

void affine_codes(const float* values, int levels, float& scale, float& minimum, uint8_t codes[kBlock]) {
  const auto [low, high] = std::minmax_element(values, values + kBlock);
  minimum = *low;
  scale = (*high - *low) / static_cast<float>(levels - 1);
  const float inverse = scale == 0.0f ? 0.0f : 1.0f / scale;
  for (int j = 0; j < kBlock; ++j) codes[j] = clamp_code((values[j] - minimum) * inverse + 0.5f, levels - 1);
}

uint8_t nearest_iq4(float value) {
  int best = 0;
  for (int k = 1; k < 16; ++k)
    if (std::fabs(value - kIq4Values[k]) < std::fabs(value - kIq4Values[best])) best = k;
  return static_cast<uint8_t>(best);
}

int fifth_bit(uint32_t bits, int j) {
  return static_cast<int>((bits >> j) & 1) << 4;
}

}  // namespace

void decode_q4_0(const std::byte* block, int64_t n, float* out) {
  for (; n > 0; --n, block += 18, out += kBlock) {
    const float d = half_at(block, 0);
    for (int j = 0; j < 16; ++j) {
      const int q = byte_at(block, 2 + j);
      out[j] = d * static_cast<float>((q & 15) - 8);
      out[j + 16] = d * static_cast<float>((q >> 4) - 8);
    }
  }
}

void decode_q4_1(const std::byte* block, int64_t n, float* out) {
  for (; n > 0; --n, block += 20, out += kBlock) {
    const float d = half_at(block, 0), m = half_at(block, 2);
    for (int j = 0; j < 16; ++j) {
      const int q = byte_at(block, 4 + j);
      out[j] = d * static_cast<float>(q & 15) + m;
      out[j + 16] = d * static_cast<float>(q >> 4) + m;
    }
  }
}

void decode_q5_0(const std::byte* block, int64_t n, float* out) {
  for (; n > 0; --n, block += 22, out += kBlock) {
    const float d = half_at(block, 0);
    const uint32_t high = u32_at(block, 2);
    for (int j = 0; j < 16; ++j) {
      const int q = byte_at(block, 6 + j);
      out[j] = d * static_cast<float>(((q & 15) | fifth_bit(high, j)) - 16);
      out[j + 16] = d * static_cast<float>(((q >> 4) | fifth_bit(high, j + 16)) - 16);
    }
  }
}

void decode_q5_1(const std::byte* block, int64_t n, float* out) {
  for (; n > 0; --n, block += 24, out += kBlock) {
    const float d = half_at(block, 0), m = half_at(block, 2);
    const uint32_t high = u32_at(block, 4);
    for (int j = 0; j < 16; ++j) {
      const int q = byte_at(block, 8 + j);
      out[j] = d * static_cast<float>((q & 15) | fifth_bit(high, j)) + m;
      out[j + 16] = d * static_cast<float>((q >> 4) | fifth_bit(high, j + 16)) + m;
    }
  }
}

void decode_q8_0(const std::byte* block, int64_t n, float* out) {
  for (; n > 0; --n, block += 34, out += kBlock) {
    const float d = half_at(block, 0);
    for (int j = 0; j < kBlock; ++j) out[j] = d * static_cast<float>(static_cast<int8_t>(byte_at(block, 2 + j)));
  }
}

void decode_q8_1(const std::byte* block, int64_t n, float* out) {
  for (; n > 0; --n, block += 36, out += kBlock) {
    const float d = half_at(block, 0);
    for (int j = 0; j < kBlock; ++j) out[j] = d * static_cast<float>(static_cast<int8_t>(byte_at(block, 4 + j)));
  }
}

void decode_iq4_nl(const std::byte* block, int64_t n, float* out) {
  for (; n > 0; --n, block += 18, out += kBlock) {
    const float d = half_at(block, 0);
    for (int j = 0; j < 16; ++j) {
      const int q = byte_at(block, 2 + j);
      out[j] = d * static_cast<float>(kIq4Values[q & 15]);
      out[j + 16] = d * static_cast<float>(kIq4Values[q >> 4]);
    }
  }
}

void encode_q4_0(const float* values, int64_t n, std::byte* block) {
  uint8_t codes[kBlock];
  for (; n > 0; --n, values += kBlock, block += 18) {
    float scale = 0.0f;
    symmetric_codes(values, 16, scale, codes);
    put_u16(block, 0, f32_to_f16(scale));
    put_nibbles(codes, block + 2);
  }
}

void encode_q5_0(const float* values, int64_t n, std::byte* block) {
  uint8_t codes[kBlock];
  for (; n > 0; --n, values += kBlock, block += 22) {
    float scale = 0.0f;
    symmetric_codes(values, 32, scale, codes);
    put_u16(block, 0, f32_to_f16(scale));
    put_fifth_bits(codes, block + 2);
    put_nibbles(codes, block + 6);
  }
}

void encode_q4_1(const float* values, int64_t n, std::byte* block) {
  uint8_t codes[kBlock];
  for (; n > 0; --n, values += kBlock, block += 20) {
    float scale = 0.0f, minimum = 0.0f;
    affine_codes(values, 16, scale, minimum, codes);
    put_u16(block, 0, f32_to_f16(scale));
    put_u16(block, 2, f32_to_f16(minimum));
    put_nibbles(codes, block + 4);
  }
}

void encode_q5_1(const float* values, int64_t n, std::byte* block) {
  uint8_t codes[kBlock];
  for (; n > 0; --n, values += kBlock, block += 24) {
    float scale = 0.0f, minimum = 0.0f;
    affine_codes(values, 32, scale, minimum, codes);
    put_u16(block, 0, f32_to_f16(scale));
    put_u16(block, 2, f32_to_f16(minimum));
    put_fifth_bits(codes, block + 4);
    put_nibbles(codes, block + 8);
  }
}

void encode_q8_0(const float* values, int64_t n, std::byte* block) {
  for (; n > 0; --n, values += kBlock, block += 34) {
    const float scale = std::fabs(signed_peak(values)) / 127.0f;
    const float inverse = scale == 0.0f ? 0.0f : 1.0f / scale;
    put_u16(block, 0, f32_to_f16(scale));
    for (int j = 0; j < kBlock; ++j)
      block[2 + j] = static_cast<std::byte>(static_cast<int8_t>(std::round(values[j] * inverse)));
  }
}

void encode_iq4_nl(const float* values, int64_t n, std::byte* block) {
  uint8_t codes[kBlock];
  for (; n > 0; --n, values += kBlock, block += 18) {
    const float scale = f16_to_f32(f32_to_f16(signed_peak(values) / static_cast<float>(kIq4Values[0])));
    const float inverse = scale == 0.0f ? 0.0f : 1.0f / scale;
    for (int j = 0; j < kBlock; ++j) codes[j] = nearest_iq4(values[j] * inverse);
    put_u16(block, 0, f32_to_f16(scale));
    put_nibbles(codes, block + 2);
  }
}

}  // namespace attar::blocks
