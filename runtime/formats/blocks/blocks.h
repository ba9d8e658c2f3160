// The types of GGUF, by group. Layouts: ggml-common.h; each block is read byte by byte, so nothing is aligned.
// decode: (n blocks) -> values; encode: values -> (n blocks). One row of the table in quant_format.cpp names each.
#pragma once

#include <bit>
#include <cmath>
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

// Where a block of 32 keeps its codes, if they lie in bytes of their own: column j as a byte, or columns j and j + 16
// as the low and the high half of one. In front of them lie an F16 step and, where there is room, an F16 minimum.
struct PlainCodes {
  int at = -1;        // byte of the block; -1: they lie otherwise
  int bytes = 0;      // 32, or 16 of halves
  uint8_t flips = 0;  // bits of each byte that make it a number without a sign
};
PlainCodes plain_codes(TensorType type);

// Which four bits stand for a value of a table: the first of them.
struct TableIndex {
  int8_t of[256] = {};
  constexpr explicit TableIndex(const int8_t* table) {
    for (int k = 15; k >= 0; --k) of[static_cast<uint8_t>(table[k])] = static_cast<int8_t>(k);
  }
};
// `half` bytes of two indices, as read_table reads sixteen.
inline void put_table(const int8_t* codes, const TableIndex& index, int half, std::byte* qs) {
  for (int j = 0; j < half; ++j)
    qs[j] = static_cast<std::byte>(index.of[static_cast<uint8_t>(codes[j])] |
                                   (index.of[static_cast<uint8_t>(codes[j + half])] << 4));
}
// 256 codes of two bits in 64 bytes: weight 128 h + 32 g + l is at bit 2 g of byte 32 h + l.
inline int two_bits(const std::byte* qs, int group, int l) {
  return (byte_at(qs, 32 * (group / 4) + l) >> (2 * (group % 4))) & 3;
}
inline void put_two_bits(const int8_t* codes, int add, std::byte* qs) {
  for (int h = 0; h < 2; ++h)
    for (int l = 0; l < 32; ++l) {
      int byte = 0;
      for (int g = 0; g < 4; ++g) byte |= ((codes[128 * h + 32 * g + l] + add) & 3) << (2 * g);
      qs[32 * h + l] = static_cast<std::byte>(byte);
    }
}

// What plain encoders share. The value of largest magnitude, with its sign, the first one on ties; the table's value
// nearest to one, the first one on ties.
inline float signed_peak(const float* values, int n) {
  float peak = 0.0f;
  for (int j = 0; j < n; ++j)
    if (std::fabs(values[j]) > std::fabs(peak)) peak = values[j];
  return peak;
}
inline float inverse_of(float scale) {
  return scale == 0.0f ? 0.0f : 1.0f / scale;
}
inline int8_t nearest_of(const int8_t* table, float value) {
  int8_t best = table[0];
  for (int k = 1; k < 16; ++k)
    if (std::fabs(value - table[k]) < std::fabs(value - best)) best = table[k];
  return best;
}

// The 16 values of IQ4_NL and IQ4_XS; of MXFP4 and NVFP4, doubled.
inline constexpr int8_t kIq4Values[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};
inline constexpr int8_t kE2m1[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};
inline constexpr TableIndex kIq4Index(kIq4Values), kE2m1Index(kE2m1);

// Scales of one byte, halved, which makes up for the doubled table. E8M0: 2^(e - 128). UE4M3: zero at both ends.
constexpr float e8m0_half(int e) {
  return std::bit_cast<float>(e < 2 ? 0x00200000u << e : static_cast<uint32_t>(e - 1) << 23);
}
constexpr float ue4m3_half(int code) {
  if (code == 0 || code == 0x7f) return 0.0f;
  const int exponent = (code >> 3) & 15, mantissa = code & 7;
  if (exponent == 0) return static_cast<float>(mantissa) * 0x1p-10f;
  return std::bit_cast<float>(static_cast<uint32_t>(exponent + 119) << 23 | static_cast<uint32_t>(mantissa) << 20);
}

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
extern const BlockCodes kQ4K, kQ5K, kQ6K;
void decode_q8_k(const std::byte*, int64_t, float*);
void encode_q4_k(const float*, int64_t, std::byte*);
void encode_q5_k(const float*, int64_t, std::byte*);
void encode_q6_k(const float*, int64_t, std::byte*);

// blocks_k_low.cpp: those of two and three bits, and of a table
extern const BlockCodes kQ2K, kQ3K, kIq4Xs;
void encode_q2_k(const float*, int64_t, std::byte*);
void encode_q3_k(const float*, int64_t, std::byte*);
void encode_iq4_xs(const float*, int64_t, std::byte*);

// Plain scales and codes of a super-block: whole multiples, from least_scale to most_scale, of one step.
struct SuperShape {
  int width;  // values a group
  int8_t least, most;
  float least_scale, most_scale;
  const int8_t* table = nullptr;
};
BlockScales fit_affine(const float* values, const SuperShape& shape, int8_t* codes);     // (256)
BlockScales fit_symmetric(const float* values, const SuperShape& shape, int8_t* codes);  // (256)

// blocks_lattice.cpp: codebooks of 4 or 8 values
void read_iq2_xxs(const std::byte*, LatticeBlock*);
void read_iq2_xs(const std::byte*, LatticeBlock*);
void read_iq2_s(const std::byte*, LatticeBlock*);
void read_iq3_xxs(const std::byte*, LatticeBlock*);
void read_iq3_s(const std::byte*, LatticeBlock*);
void read_iq1_s(const std::byte*, LatticeBlock*);
void read_iq1_m(const std::byte*, LatticeBlock*);
void decode_points(const LatticeCodes& codes, const std::byte* block, float* values);  // (256)
template <const LatticeCodes& kCodes, int64_t kBlockBytes>
void decode_lattice(const std::byte* block, int64_t n, float* values) {
  for (; n > 0; --n, values += 256, block += kBlockBytes) decode_points(kCodes, block, values);
}

// lattice_write.cpp: the same written
extern const LatticeCodes kIq2Xxs, kIq2Xs, kIq2S, kIq3Xxs, kIq3S, kIq1S, kIq1M;
LatticeBlock fit_lattice(const LatticeCodes& codes, const float* values);  // (256)
template <const LatticeCodes& kCodes, int64_t kBlockBytes>
void encode_lattice(const float* values, int64_t n, std::byte* block) {
  for (; n > 0; --n, values += 256, block += kBlockBytes) kCodes.write(fit_lattice(kCodes, values), block);
}

// blocks_small.cpp: ternary, binary and four-bit floats
extern const BlockCodes kTq1_0, kTq2_0, kMxfp4, kNvfp4, kQ1_0, kQ2_0;
void encode_tq1_0(const float*, int64_t, std::byte*);
void encode_tq2_0(const float*, int64_t, std::byte*);
void encode_mxfp4(const float*, int64_t, std::byte*);
void encode_nvfp4(const float*, int64_t, std::byte*);
void encode_q1_0(const float*, int64_t, std::byte*);
void encode_q2_0(const float*, int64_t, std::byte*);

// The decoder of a type of whole-number codes.
void decode_numbers(const BlockCodes& codes, const std::byte* blocks, int64_t n_parts, float* values);  // (n parts, 32)
template <const BlockCodes& kCodes, int64_t kBlockSize>
void decode_codes(const std::byte* blocks, int64_t n, float* values) {
  decode_numbers(kCodes, blocks, n * (kBlockSize / 32), values);
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
