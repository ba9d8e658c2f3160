// The tensor types of GGUF: sizes, layouts, decoders and plain encoders, one row each.
// Sources: GGUF specification; block layouts as in ggml-common.h.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace attar {

// Values are GGUF's type ids.
enum class TensorType : int32_t {
  F32 = 0,
  F16 = 1,
  Q4_0 = 2,
  Q4_1 = 3,
  Q5_0 = 6,
  Q5_1 = 7,
  Q8_0 = 8,
  Q8_1 = 9,
  Q2_K = 10,
  Q3_K = 11,
  Q4_K = 12,
  Q5_K = 13,
  Q6_K = 14,
  Q8_K = 15,
  IQ2_XXS = 16,
  IQ2_XS = 17,
  IQ3_XXS = 18,
  IQ1_S = 19,
  IQ4_NL = 20,
  IQ3_S = 21,
  IQ2_S = 22,
  IQ4_XS = 23,
  I8 = 24,
  I16 = 25,
  I32 = 26,
  I64 = 27,
  F64 = 28,
  IQ1_M = 29,
  BF16 = 30,
  TQ1_0 = 34,
  TQ2_0 = 35,
  MXFP4 = 39,
  NVFP4 = 40,
  Q1_0 = 41,
  Q2_0 = 42,
};

// 32 weights of a block as whole numbers: weight = scale * code + minimum, exactly.
struct CodeBlock {
  int8_t codes[32];  // of types with a table: values of that table
  float scale[2];    // of columns 0..15 and 16..31; both equal where the type has one
  float minimum[2];  // -0 where the type has none: adding it changes no bit
};

// What the bytes of a block say of its scales.
struct BlockScales {
  uint16_t d = 0, dmin = 0;  // F16 bits. Q4_1, Q5_1: dmin is the minimum itself
  int8_t scales[16] = {};    // of each group. K types, IQ4_XS: multiples of d; MXFP4: E8M0; NVFP4: UE4M3
  int8_t minimums[16] = {};  // Q2_K, Q4_K, Q5_K: multiples of dmin, subtracted
};

// The layout of a type whose weights are whole numbers times scales: the one place where its bytes are read and
// written.
struct BlockCodes {
  int8_t least, most;   // of the codes
  const int8_t* table;  // (16) the codes, in any order; nullptr: all whole numbers between
  // The i-th 32 weights of consecutive blocks.
  void (*read)(const std::byte* blocks, int64_t i, CodeBlock* out);
  // What one block says of its scales.
  void (*read_scales)(const std::byte* block, BlockScales* out);
  // The codes of one block (block_size), and its scales; nullptr where Attar writes none yet.
  void (*write_codes)(const int8_t* codes, std::byte* block) = nullptr;
  void (*write_scales)(const BlockScales& scales, std::byte* block) = nullptr;
};

// What the bytes of a super-block (256) say, for the types whose codes are points of a codebook: of each group of
// weights a scale, of each 4 or 8 a point, of each 8 their signs, or the sign of their shift in bit 0.
struct LatticeBlock {
  uint16_t d = 0;           // F16 bits
  uint8_t scales[16] = {};  // s of a step, d * (2 s + 1) * unit
  uint16_t points[64] = {};
  uint8_t signs[32] = {};  // bit j: weight j is negative
};

// The layout of such a type: a weight is step * level, with its sign or shifted by an eighth of the step.
struct LatticeCodes {
  enum class Signs { Free, Even, Shifts };  // Even: the minuses of eight weights are an even number
  Signs signs;
  int values;  // weights of a point: 4 or 8
  int group;   // weights that share a step: 16 or 32
  int shared;  // weights that share signs or a shift: 8, or 32
  int n_points;
  const uint16_t* points;  // `bits` bits a weight, the first lowest: a place in the levels
  int bits;
  int n_levels;
  const float* levels;
  int most_scale;
  float unit;
  void (*read)(const std::byte* bytes, LatticeBlock* block);
  void (*write)(const LatticeBlock& block, std::byte* bytes);

  int place(int point, int j) const { return (points[point] >> (bits * j)) & ((1 << bits) - 1); }
};

struct QuantFormat {
  TensorType type;
  const char* name;     // "Q4_K", as GGUF tools print it
  int64_t block_size;   // weights per block; 1 for plain types. A row is a whole number of blocks
  int64_t block_bytes;  // bytes per block
  // (n blocks) -> (n * block_size) f32. nullptr: the type holds no weights
  void (*decode)(const std::byte* blocks, int64_t n_blocks, float* values);
  bool written = false;                   // Attar has an encoder
  const BlockCodes* codes = nullptr;      // nullptr: plain values, codebooks of several values
  const LatticeCodes* lattice = nullptr;  // of such codebooks

  // Integers are decoded for whoever asks; as a model's weights they are a quantized checkpoint without its scales.
  bool holds_weights() const { return decode != nullptr && (type < TensorType::I8 || type > TensorType::I64); }
  // Attar writes it, and not one value after another.
  bool written_in_blocks() const { return written && block_size > 1; }
  // (n * block_size) f32 -> (n blocks), of a type that is written: nearest values with scales from each block alone.
  void encode(const float* values, int64_t n_blocks, std::byte* blocks) const;
  double bits_per_weight() const { return 8.0 * static_cast<double>(block_bytes) / static_cast<double>(block_size); }
  int64_t row_bytes(int64_t columns) const { return columns / block_size * block_bytes; }
};

std::span<const QuantFormat> quant_formats();
const QuantFormat* find_format(TensorType type);        // nullptr: unknown or retired id
const QuantFormat* find_format(std::string_view name);  // case-insensitive: "q4_k", "IQ4_NL"
const QuantFormat& format_of(TensorType type);          // must be known

}  // namespace attar
