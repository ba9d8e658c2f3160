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

void read_nibbles(const std::byte* qs, int subtract, CodeBlock* out) {
  for (int j = 0; j < 16; ++j) {
    out->codes[j] = static_cast<int8_t>((byte_at(qs, j) & 15) - subtract);
    out->codes[j + 16] = static_cast<int8_t>((byte_at(qs, j) >> 4) - subtract);
  }
}

void read_five(const std::byte* qh, const std::byte* qs, int subtract, CodeBlock* out) {
  const uint32_t high = u32_at(qh, 0);
  for (int j = 0; j < 16; ++j) {
    const auto first = (high >> j) & 1, second = (high >> (j + 16)) & 1;
    out->codes[j] = static_cast<int8_t>(((byte_at(qs, j) & 15) | static_cast<int>(first << 4)) - subtract);
    out->codes[j + 16] = static_cast<int8_t>(((byte_at(qs, j) >> 4) | static_cast<int>(second << 4)) - subtract);
  }
}

void put_nibbles(const int8_t* codes, int add, std::byte* qs) {
  for (int j = 0; j < 16; ++j)
    qs[j] = static_cast<std::byte>(((codes[j] + add) & 15) | (((codes[j + 16] + add) & 15) << 4));
}

void put_five(const int8_t* codes, int add, std::byte* qh, std::byte* qs) {
  uint32_t bits = 0;
  for (int j = 0; j < kBlock; ++j) bits |= static_cast<uint32_t>(((codes[j] + add) >> 4) & 1) << j;
  for (int i = 0; i < 4; ++i) qh[i] = static_cast<std::byte>((bits >> (8 * i)) & 0xff);
  put_nibbles(codes, add, qs);
}

void read_d(const std::byte* block, BlockScales* out) {
  out->d = u16_at(block, 0);
}
void read_d_and_minimum(const std::byte* block, BlockScales* out) {
  out->d = u16_at(block, 0), out->dmin = u16_at(block, 2);
}
void write_scale(const BlockScales& scales, std::byte* block) {
  put_u16(block, 0, scales.d);
}
void write_scale_and_minimum(const BlockScales& scales, std::byte* block) {
  put_u16(block, 0, scales.d);
  put_u16(block, 2, scales.dmin);
}

void read_q4_0(const std::byte* blocks, int64_t i, CodeBlock* out) {
  const std::byte* block = blocks + 18 * i;
  set_scale(out, half_at(block, 0));
  read_nibbles(block + 2, 8, out);
}
void write_q4_0(const int8_t* codes, std::byte* block) {
  put_nibbles(codes, 8, block + 2);
}

void read_q4_1(const std::byte* blocks, int64_t i, CodeBlock* out) {
  const std::byte* block = blocks + 20 * i;
  set_scale(out, half_at(block, 0), half_at(block, 2));
  read_nibbles(block + 4, 0, out);
}
void write_q4_1(const int8_t* codes, std::byte* block) {
  put_nibbles(codes, 0, block + 4);
}

void read_q5_0(const std::byte* blocks, int64_t i, CodeBlock* out) {
  const std::byte* block = blocks + 22 * i;
  set_scale(out, half_at(block, 0));
  read_five(block + 2, block + 6, 16, out);
}
void write_q5_0(const int8_t* codes, std::byte* block) {
  put_five(codes, 16, block + 2, block + 6);
}

void read_q5_1(const std::byte* blocks, int64_t i, CodeBlock* out) {
  const std::byte* block = blocks + 24 * i;
  set_scale(out, half_at(block, 0), half_at(block, 2));
  read_five(block + 4, block + 8, 0, out);
}
void write_q5_1(const int8_t* codes, std::byte* block) {
  put_five(codes, 0, block + 4, block + 8);
}

void read_q8_0(const std::byte* blocks, int64_t i, CodeBlock* out) {
  const std::byte* block = blocks + 34 * i;
  set_scale(out, half_at(block, 0));
  std::memcpy(out->codes, block + 2, kBlock);
}
void write_q8_0(const int8_t* codes, std::byte* block) {
  std::memcpy(block + 2, codes, kBlock);
}

void read_q8_1(const std::byte* blocks, int64_t i, CodeBlock* out) {
  const std::byte* block = blocks + 36 * i;
  set_scale(out, half_at(block, 0));
  std::memcpy(out->codes, block + 4, kBlock);
}

void read_iq4_nl(const std::byte* blocks, int64_t i, CodeBlock* out) {
  const std::byte* block = blocks + 18 * i;
  set_scale(out, half_at(block, 0));
  read_table(block + 2, kIq4Values, out);
}
void write_iq4_nl(const int8_t* codes, std::byte* block) {
  put_table(codes, kIq4Index, 16, block + 2);
}

int8_t whole(float value, int most) {
  return static_cast<int8_t>(std::min(static_cast<float>(most), std::max(0.0f, std::trunc(value))));
}

// code = trunc(x / d + half + 0.5) - half, d = peak / -half: Q4_0 (half = 8) and Q5_0 (16)
BlockScales fit_symmetric(const float* values, int half, int8_t* codes) {
  const float scale = signed_peak(values, kBlock) / -static_cast<float>(half), inverse = inverse_of(scale);
  for (int j = 0; j < kBlock; ++j)
    codes[j] = static_cast<int8_t>(whole(values[j] * inverse + static_cast<float>(half) + 0.5f, 2 * half - 1) - half);
  return {.d = f32_to_f16(scale)};
}

BlockScales fit_affine(const float* values, int most, int8_t* codes) {
  const auto [low, high] = std::minmax_element(values, values + kBlock);
  const float scale = (*high - *low) / static_cast<float>(most), inverse = inverse_of(scale);
  for (int j = 0; j < kBlock; ++j) codes[j] = whole((values[j] - *low) * inverse + 0.5f, most);
  return {.d = f32_to_f16(scale), .dmin = f32_to_f16(*low)};
}

BlockScales fit_bytes(const float* values, int8_t* codes) {
  const float scale = std::fabs(signed_peak(values, kBlock)) / 127.0f, inverse = inverse_of(scale);
  for (int j = 0; j < kBlock; ++j) codes[j] = static_cast<int8_t>(std::round(values[j] * inverse));
  return {.d = f32_to_f16(scale)};
}

BlockScales fit_table(const float* values, int8_t* codes) {
  const uint16_t d = f32_to_f16(signed_peak(values, kBlock) / static_cast<float>(kIq4Values[0]));
  const float inverse = inverse_of(f16_to_f32(d));
  for (int j = 0; j < kBlock; ++j) codes[j] = nearest_of(kIq4Values, values[j] * inverse);
  return {.d = d};
}

}  // namespace

PlainCodes plain_codes(TensorType type) {
  switch (type) {
    case TensorType::Q4_0:
    case TensorType::IQ4_NL:
      return {.at = 2, .bytes = 16};
    case TensorType::Q4_1:
      return {.at = 4, .bytes = 16};
    case TensorType::Q8_0:
      return {.at = 2, .bytes = 32, .flips = 0x80};
    default:
      return {};
  }
}

void decode_numbers(const BlockCodes& codes, const std::byte* blocks, int64_t n_parts, float* values) {
  CodeBlock block;
  for (int64_t i = 0; i < n_parts; ++i, values += 32) {
    codes.read(blocks, i, &block);
    for (int half = 0; half < 2; ++half)
      for (int j = 16 * half; j < 16 * half + 16; ++j)
        values[j] = block.scale[half] * static_cast<float>(block.codes[j]) + block.minimum[half];
  }
}

constexpr BlockCodes kQ4_0{-8, 7, nullptr, read_q4_0, read_d, write_q4_0, write_scale};
constexpr BlockCodes kQ4_1{0, 15, nullptr, read_q4_1, read_d_and_minimum, write_q4_1, write_scale_and_minimum};
constexpr BlockCodes kQ5_0{-16, 15, nullptr, read_q5_0, read_d, write_q5_0, write_scale};
constexpr BlockCodes kQ5_1{0, 31, nullptr, read_q5_1, read_d_and_minimum, write_q5_1, write_scale_and_minimum};
constexpr BlockCodes kQ8_0{-127, 127, nullptr, read_q8_0, read_d, write_q8_0, write_scale};
constexpr BlockCodes kQ8_1{-127, 127, nullptr, read_q8_1, read_d};
constexpr BlockCodes kIq4Nl{-127, 113, kIq4Values, read_iq4_nl, read_d, write_iq4_nl, write_scale};

void encode_q4_0(const float* values, int64_t n, std::byte* block) {
  encode_codes<kQ4_0, 32, 18>(values, n, block,
                              [](const float* x, int8_t* codes) { return fit_symmetric(x, 8, codes); });
}
void encode_q4_1(const float* values, int64_t n, std::byte* block) {
  encode_codes<kQ4_1, 32, 20>(values, n, block, [](const float* x, int8_t* codes) { return fit_affine(x, 15, codes); });
}
void encode_q5_0(const float* values, int64_t n, std::byte* block) {
  encode_codes<kQ5_0, 32, 22>(values, n, block,
                              [](const float* x, int8_t* codes) { return fit_symmetric(x, 16, codes); });
}
void encode_q5_1(const float* values, int64_t n, std::byte* block) {
  encode_codes<kQ5_1, 32, 24>(values, n, block, [](const float* x, int8_t* codes) { return fit_affine(x, 31, codes); });
}
void encode_q8_0(const float* values, int64_t n, std::byte* block) {
  encode_codes<kQ8_0, 32, 34>(values, n, block, fit_bytes);
}
void encode_iq4_nl(const float* values, int64_t n, std::byte* block) {
  encode_codes<kIq4Nl, 32, 18>(values, n, block, fit_table);
}

}  // namespace attar::blocks
