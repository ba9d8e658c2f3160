// Codecs of the block types, by group. Layouts: ggml-common.h; each block is read byte by byte, so nothing is aligned.
// decode: (n blocks) -> values; encode: values -> (n blocks). One row of the table in quant_format.cpp names each.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "runtime/base/half.h"

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
void decode_q4_0(const std::byte*, int64_t, float*);
void decode_q4_1(const std::byte*, int64_t, float*);
void decode_q5_0(const std::byte*, int64_t, float*);
void decode_q5_1(const std::byte*, int64_t, float*);
void decode_q8_0(const std::byte*, int64_t, float*);
void decode_q8_1(const std::byte*, int64_t, float*);
void decode_iq4_nl(const std::byte*, int64_t, float*);
void encode_q4_0(const float*, int64_t, std::byte*);
void encode_q4_1(const float*, int64_t, std::byte*);
void encode_q5_0(const float*, int64_t, std::byte*);
void encode_q5_1(const float*, int64_t, std::byte*);
void encode_q8_0(const float*, int64_t, std::byte*);
void encode_iq4_nl(const float*, int64_t, std::byte*);

// blocks_k.cpp: 256 values in groups with quantized scales
void decode_q2_k(const std::byte*, int64_t, float*);
void decode_q3_k(const std::byte*, int64_t, float*);
void decode_q4_k(const std::byte*, int64_t, float*);
void decode_q5_k(const std::byte*, int64_t, float*);
void decode_q6_k(const std::byte*, int64_t, float*);
void decode_q8_k(const std::byte*, int64_t, float*);
void decode_iq4_xs(const std::byte*, int64_t, float*);
void encode_q4_k(const float*, int64_t, std::byte*);
void encode_q5_k(const float*, int64_t, std::byte*);
void encode_q6_k(const float*, int64_t, std::byte*);
// Scale and minimum codes (6 bits each) of group j of the 12 packed bytes that Q4_K and Q5_K share.
void unpack_scale_min(const std::byte* scales, int j, int& scale, int& minimum);
void pack_scales_mins(const uint8_t scales[8], const uint8_t minimums[8], std::byte* packed);

// blocks_lattice.cpp: codebooks of 4 or 8 values
void decode_iq2_xxs(const std::byte*, int64_t, float*);
void decode_iq2_xs(const std::byte*, int64_t, float*);
void decode_iq2_s(const std::byte*, int64_t, float*);
void decode_iq3_xxs(const std::byte*, int64_t, float*);
void decode_iq3_s(const std::byte*, int64_t, float*);
void decode_iq1_s(const std::byte*, int64_t, float*);
void decode_iq1_m(const std::byte*, int64_t, float*);

// blocks_small.cpp: ternary, binary and four-bit floats
void decode_tq1_0(const std::byte*, int64_t, float*);
void decode_tq2_0(const std::byte*, int64_t, float*);
void decode_mxfp4(const std::byte*, int64_t, float*);
void decode_nvfp4(const std::byte*, int64_t, float*);
void decode_q1_0(const std::byte*, int64_t, float*);
void decode_q2_0(const std::byte*, int64_t, float*);

}  // namespace attar::blocks
