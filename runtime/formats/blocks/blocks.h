// The types of GGUF, by group. Layouts: ggml-common.h; each block is read byte by byte, so nothing is aligned.
// decode: (n blocks) -> values; encode: values -> (n blocks). One row of the table in quant_format.cpp names each.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "runtime/base/half.h"
#include "runtime/formats/blocks/quant_format.h"

namespace attar::blocks {

inline uint8_t byte_at(const std::byte* block, int64_t offset) {
  return static_cast<uint8_t>(block[offset]);
}
inline uint16_t u16_at(const std::byte* block, int64_t offset) {
  return static_cast<uint16_t>(byte_at(block, offset) | (byte_at(block, offset + 1) << 8));
}
inline uint32_t u32_at(const std::byte* block, int64_t offset) {
  return u16_at(block, offset) | (static_cast<uint32_t>(u16_at(block, offset + 2)) << 16);
}
inline float half_at(const std::byte* block, int64_t offset) {
  return f16_to_f32(u16_at(block, offset));
}
inline void put_u16(std::byte* block, int64_t offset, uint16_t value) {
  block[offset] = static_cast<std::byte>(value & 0xff);
  block[offset + 1] = static_cast<std::byte>(value >> 8);
}

inline void set_scale(CodeBlock* out, float scale, float minimum = -0.0f) {
  out->scale[0] = out->scale[1] = scale;
  out->minimum[0] = out->minimum[1] = minimum;
}
// 16 bytes of two indices: weight j is in the low bits of byte j, weight j + 16 in the high ones.
inline void read_table(const std::byte* qs, const int8_t* table, CodeBlock* out) {
  for (int j = 0; j < 16; ++j) {
    out->codes[j] = table[byte_at(qs, j) & 15];
    out->codes[j + 16] = table[byte_at(qs, j) >> 4];
  }
}

// The 16 values of IQ4_NL and IQ4_XS.
inline constexpr int8_t kIq4Values[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};

// plain.cpp: one value each
void decode_f32(const std::byte*, int64_t, float*);
void decode_f16(const std::byte*, int64_t, float*);
void decode_bf16(const std::byte*, int64_t, float*);
void decode_f64(const std::byte*, int64_t, float*);
void decode_i8(const std::byte*, int64_t, float*);
void decode_i16(const std::byte*, int64_t, float*);
void decode_i32(const std::byte*, int64_t, float*);
void decode_i64(const std::byte*, int64_t, float*);
void encode_f32(const float*, int64_t, std::byte*);
void encode_f16(const float*, int64_t, std::byte*);
void encode_bf16(const float*, int64_t, std::byte*);

// blocks_32.cpp: one scale for 32 values
extern const BlockCodes kQ4_0, kQ4_1, kQ5_0, kQ5_1, kQ8_0, kQ8_1, kIq4Nl;
void encode_q4_0(const float*, int64_t, std::byte*);
void encode_q4_1(const float*, int64_t, std::byte*);
void encode_q5_0(const float*, int64_t, std::byte*);
void encode_q5_1(const float*, int64_t, std::byte*);
void encode_q8_0(const float*, int64_t, std::byte*);
void encode_iq4_nl(const float*, int64_t, std::byte*);

// blocks_k.cpp: 256 values in groups with quantized scales
extern const BlockCodes kQ2K, kQ3K, kQ4K, kQ5K, kQ6K, kIq4Xs;
void decode_q8_k(const std::byte*, int64_t, float*);
void encode_q4_k(const float*, int64_t, std::byte*);
void encode_q5_k(const float*, int64_t, std::byte*);
void encode_q6_k(const float*, int64_t, std::byte*);

// blocks_lattice.cpp: codebooks of 4 or 8 values
void decode_iq2_xxs(const std::byte*, int64_t, float*);
void decode_iq2_xs(const std::byte*, int64_t, float*);
void decode_iq2_s(const std::byte*, int64_t, float*);
void decode_iq3_xxs(const std::byte*, int64_t, float*);
void decode_iq3_s(const std::byte*, int64_t, float*);
void decode_iq1_s(const std::byte*, int64_t, float*);
void decode_iq1_m(const std::byte*, int64_t, float*);

// blocks_small.cpp: ternary, binary and four-bit floats
extern const BlockCodes kTq2_0, kMxfp4, kNvfp4, kQ1_0, kQ2_0;
void decode_tq1_0(const std::byte*, int64_t, float*);

// The decoder of a type of whole-number codes.
template <const BlockCodes& kCodes, int64_t kBlockSize>
void decode_codes(const std::byte* blocks, int64_t n, float* values) {
  CodeBlock block;
  for (int64_t i = 0; i < n * kBlockSize / 32; ++i, values += 32) {
    kCodes.read(blocks, i, &block);
    for (int half = 0; half < 2; ++half)
      for (int j = 16 * half; j < 16 * half + 16; ++j)
        values[j] = block.scale[half] * static_cast<float>(block.codes[j]) + block.minimum[half];
  }
}

// A plain encoder of such a type: `fit` gives the scales and codes of one block.
template <const BlockCodes& kCodes, int64_t kBlockSize, int64_t kBlockBytes, class Fit>
void encode_codes(const float* values, int64_t n, std::byte* block, const Fit& fit) {
  int8_t codes[kBlockSize];
  for (; n > 0; --n, values += kBlockSize, block += kBlockBytes) {
    kCodes.write_scales(fit(values, codes), block);
    kCodes.write_codes(codes, block);
  }
}

}  // namespace attar::blocks
