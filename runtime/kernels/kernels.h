// The runtime's inner loops: one table of functions per instruction set, chosen when a model is loaded.
//
// Weights lie in tiles of 16 rows x 32 columns, so that one broadcast activation feeds 16 rows and no sum runs across a
// register. Every result is defined by its own sums alone: a (row, column) pair is one f32 chain over k in ascending
// order, whichever kernel (one column or many), tile grouping or thread computes it. That makes logits independent of
// batch, chunks and threads, bit for bit. See runtime/README.md for the layouts.
//
// This header is read by translation units compiled for one instruction set: it must hold no inline function.
#pragma once

#include <cstdint>

#include "runtime/base/host/isa.h"

namespace attar::runtime {

inline constexpr int64_t kTileRows = 16;
inline constexpr int64_t kBlock = 32;         // columns that share an activation scale
inline constexpr int64_t kSkinnyRows = 16;    // that are multiplied without unpacking tiles (measured)
inline constexpr int64_t kChunkTokens = 256;  // keys and values come in chunks of this many positions
// A block is quantized when its largest magnitude lies between these; 127 / less would overflow. Less counts as 0; NaN
// and infinity become a scale that is not finite, so that they are never lost.
inline constexpr float kLeastQuantized = 1e-30f, kMostQuantized = 3.4028234e38f;

// How the weights of a packed matrix are stored: as plain values, or in the tiles that hold the tensor type of that
// name without loss.
enum class TileFormat : uint8_t {
  F32,
  F16,
  BF16,
  I8,  // codes alone: of keys and values
  Q4_0,
  Q4_1,
  Q4_K,
  IQ4_NL,
  IQ4_XS,
  MXFP4,
  NVFP4,
  Q5_0,
  Q5_1,
  Q5_K,
  Q6_K,
  Q8_0,
  Q3_K,
  Q2_K,
  Q2_0,
  TQ2_0,
  TQ1_0,
  Q1_0,
  IQ3_S,
  IQ3_XXS,
  IQ2_S,
  IQ2_XS,
  IQ2_XXS,
  IQ1_M,
  IQ1_S,
};
inline constexpr int kTileFormats = 29;

enum class CodeKind : uint8_t {
  Plain,    // none: values of 8, 16 or 32 bits
  Numbers,  // whole numbers
  Indices,  // of 4 bits, into 16 numbers: the matrix's table
  Trits,    // -1, 0 or 1
  Points,   // places in a codebook, the matrix's grid, whose points are several numbers
};
// How a point's numbers become codes: each with a sign, where eight signs are stored, or seven and the number of
// minuses is even; or all of them an eighth of a step up or down.
enum class SignKind : uint8_t { None, Each, Even, Shift };
enum class ScaleKind : uint8_t {
  None,
  F16,
  Multiples,  // of an F16 step
  E8M0,
  UE4M3,  // floats of eight bits, halved as in formats/blocks/blocks.h
};

// Codes as the inner loops see them; formats that agree in this share their loops.
struct CodeTraits {
  CodeKind kind;
  uint8_t bits;  // of a number or index, or of a plain value
  uint8_t lift;  // a number counts 2^lift
  uint8_t bias;  // added to a code (of a table: to its numbers) to make it unsigned; 0 where codes have signs apart
  uint8_t most;  // the largest code with its bias, or magnitude
};
struct ScaleTraits {
  ScaleKind kind;
  uint8_t blocks;  // that lie together: as many as a block of the tensor type has
  bool half;       // two scales a block of 32
  bool has_min;    // weight = scale * code + minimum
  uint8_t wholes;  // Multiples: numbers w of a row in `blocks`; scale = (step * unit) * (factor * w + offset)
  uint8_t bits;    // of such a number; 0: they are the spare bits of the codes
  uint8_t factor;
  int16_t offset;
  uint8_t eighths;  // the unit
};
// What a format is made of; everything that reads, writes or multiplies tiles takes it from here.
struct TileTraits {
  CodeTraits codes;
  ScaleTraits scales;
  uint8_t point_codes = 0;  // numbers of a point: 8 or 4
  uint8_t index_bits = 0;
  SignKind signs = SignKind::None;
};

using enum CodeKind;
using enum ScaleKind;
constexpr TileTraits kTileTraits[kTileFormats] = {
    {{Plain, 32, 0, 0, 0}, {None, 0, false, false, 0, 0, 0, 0, 0}},                                 // F32
    {{Plain, 16, 0, 0, 0}, {None, 0, false, false, 0, 0, 0, 0, 0}},                                 // F16
    {{Plain, 16, 0, 0, 0}, {None, 0, false, false, 0, 0, 0, 0, 0}},                                 // BF16
    {{Plain, 8, 0, 0, 0}, {None, 0, false, false, 0, 0, 0, 0, 0}},                                  // I8
    {{Numbers, 4, 0, 8, 15}, {F16, 1, false, false, 0, 0, 0, 0, 8}},                                // Q4_0
    {{Numbers, 4, 0, 0, 15}, {F16, 1, false, true, 0, 0, 0, 0, 8}},                                 // Q4_1
    {{Numbers, 4, 0, 0, 15}, {Multiples, 8, false, true, 8, 6, 1, 0, 8}},                           // Q4_K
    {{Indices, 4, 0, 128, 255}, {F16, 1, false, false, 0, 0, 0, 0, 8}},                             // IQ4_NL
    {{Indices, 4, 0, 128, 255}, {Multiples, 8, false, false, 8, 6, 1, -32, 8}},                     // IQ4_XS
    {{Indices, 4, 0, 16, 28}, {E8M0, 1, false, false, 0, 0, 0, 0, 8}},                              // MXFP4
    {{Indices, 4, 0, 16, 28}, {UE4M3, 2, true, false, 0, 0, 0, 0, 8}},                              // NVFP4
    {{Numbers, 5, 0, 16, 31}, {F16, 1, false, false, 0, 0, 0, 0, 8}},                               // Q5_0
    {{Numbers, 5, 0, 0, 31}, {F16, 1, false, true, 0, 0, 0, 0, 8}},                                 // Q5_1
    {{Numbers, 5, 0, 0, 31}, {Multiples, 8, false, true, 8, 6, 1, 0, 8}},                           // Q5_K
    {{Numbers, 6, 0, 32, 63}, {Multiples, 8, true, false, 16, 8, 1, -128, 8}},                      // Q6_K
    {{Numbers, 8, 0, 128, 255}, {F16, 1, false, false, 0, 0, 0, 0, 8}},                             // Q8_0
    {{Numbers, 3, 0, 4, 7}, {Multiples, 8, true, false, 16, 6, 1, -32, 8}},                         // Q3_K
    {{Numbers, 2, 0, 0, 3}, {Multiples, 8, true, true, 16, 4, 1, 0, 8}},                            // Q2_K
    {{Numbers, 2, 0, 1, 3}, {F16, 2, false, false, 0, 0, 0, 0, 8}},                                 // Q2_0
    {{Numbers, 2, 0, 1, 3}, {F16, 8, false, false, 0, 0, 0, 0, 8}},                                 // TQ2_0
    {{Trits, 0, 0, 1, 2}, {F16, 8, false, false, 0, 0, 0, 0, 8}},                                   // TQ1_0
    {{Numbers, 1, 1, 1, 2}, {F16, 4, false, false, 0, 0, 0, 0, 8}},                                 // Q1_0
    {{Points, 0, 0, 0, 62}, {Multiples, 8, true, false, 8, 4, 2, 1, 8}, 4, 9, SignKind::Each},      // IQ3_S
    {{Points, 0, 0, 0, 62}, {Multiples, 8, true, false, 8, 0, 2, 1, 2}, 4, 8, SignKind::Even},      // IQ3_XXS
    {{Points, 0, 0, 0, 62}, {Multiples, 8, true, false, 16, 4, 2, 1, 1}, 8, 10, SignKind::Each},    // IQ2_S
    {{Points, 0, 0, 0, 62}, {Multiples, 8, true, false, 16, 4, 2, 1, 1}, 8, 9, SignKind::Even},     // IQ2_XS
    {{Points, 0, 0, 0, 62}, {Multiples, 8, true, false, 8, 0, 2, 1, 1}, 8, 8, SignKind::Even},      // IQ2_XXS
    {{Points, 0, 0, 16, 25}, {Multiples, 8, true, false, 16, 3, 2, 1, 1}, 8, 11, SignKind::Shift},  // IQ1_M
    {{Points, 0, 0, 16, 25}, {Multiples, 8, true, false, 8, 0, 2, 1, 1}, 8, 11, SignKind::Shift},   // IQ1_S
};

// A matrix (rows, columns) in tiles: the codes of all blocks of 32 columns, then their scales.
//   plain   [column][16 rows]
//   codes   [block]; byte 4 r + i of register j of 8 (64 bytes) belongs to row r, column 4 j + i
//     Numbers, Indices   8 registers in planes
//     Trits              of 8 blocks 64 registers: five to one of 13, the last four; a byte is the least whose thirds,
//                        taken one after another, are the codes + 1 (as in TQ1_0), but 1 for five zeros
//     Points             the low 8 bits of each index [32 / numbers of a point][16 rows]; what is above them:
//                          IQ3_S, IQ2_S in a plane of the indices; IQ1 in 16 bits a row: of the l-th point at bit 4 l,
//                          three of index and a spare one; IQ2_XS in the spare bits
//                        then of types with signs 8 registers of one bit in a plane; where the minuses are even, the
//                        signs of columns 8 l + 7 are not stored, and their bits are spare
//     spare bits         IQ2_XS: the ninth of each index; IQ3_XXS, IQ2_XXS: the scale's whole number; IQ1_M: the shift
//     of
//                        each point; IQ1_S: the shift, then the whole number
//   scales  of `blocks` blocks together, then their minima likewise
//     F16                [16 rows]
//     Multiples          step [16 rows] as F16 (of minima: negated), then units of [2 whole numbers][16 rows] in planes
//     E8M0, UE4M3        [block (x 2 if half)][16 rows]
// Planes: n numbers of 1 to 8 bits are stored as n numbers of 8, 4, 2 and 1 bits, lowest bits first, as many as add up.
// The i-th number of p bits is in register (or unit) i % s at bit i / s * p, where s = n * p / 8.
struct TileLayout {
  int16_t code_bytes;   // of a block (Trits: an eighth of eight)
  int16_t part_bytes;   // scales of `blocks` blocks; or their minima
  int16_t scale_bytes;  // both
};
consteval TileLayout layout_of(const TileTraits& t) {
  constexpr int kRows = static_cast<int>(kTileRows);
  const ScaleTraits& s = t.scales;
  int codes = t.codes.bits * 64, part = 0;
  if (t.codes.kind == Plain) codes = 0;
  if (t.codes.kind == Trits) codes = 13 * 64 / 8;
  if (t.codes.kind == Points) {
    const bool above = t.index_bits > 8 && t.signs != SignKind::Even;
    codes = 32 / t.point_codes * kRows;
    codes += t.signs == SignKind::Shift ? 2 * kRows : 64 + (above ? kRows : 0);
  }
  if (s.kind == F16) part = 2 * kRows;
  if (s.kind == Multiples) part = 2 * kRows + s.wholes * s.bits * kRows / 8;
  if (s.kind == E8M0 || s.kind == UE4M3) part = s.blocks * (s.half ? 2 : 1) * kRows;
  return {static_cast<int16_t>(codes), static_cast<int16_t>(part), static_cast<int16_t>(s.has_min ? 2 * part : part)};
}
struct TileLayouts {
  TileLayout of[kTileFormats];  // by TileFormat
};
consteval TileLayouts layouts_of_all() {
  TileLayouts layouts{};
  for (int i = 0; i < kTileFormats; ++i) layouts.of[i] = layout_of(kTileTraits[i]);
  return layouts;
}
constexpr TileLayouts kTileLayouts = layouts_of_all();

struct PackedMatrix {
  const uint8_t* data = nullptr;  // 64-byte aligned
  int64_t rows = 0, columns = 0;
  int64_t n_tiles = 0;   // ceil(rows / 16)
  int64_t n_blocks = 0;  // ceil(columns / 32)
  int64_t tile_bytes = 0, scales_offset = 0;
  TileFormat format = TileFormat::F32;
  alignas(16) uint8_t table[16] = {};  // numbers + bias, of Indices
  const uint8_t* grid = nullptr;       // of points: (points, 8 or 4) numbers (of Shift: times 8) + bias
};

// Quantized activations of one row: codes (n_blocks * 32), zero beyond the row's end, and one of these per block.
struct BlockInfo {
  float scale;             // value = scale * code
  int32_t minus_128_sums;  // -128 * sum of the codes
  float scaled_sum;        // scale * sum of the codes
  int32_t minus_128_half[2];
  float scaled_half[2];
  int32_t unused;
};
struct QuantizedRows {
  const int8_t* codes = nullptr;      // (rows, code_stride)
  const BlockInfo* blocks = nullptr;  // (rows, n_blocks)
  int64_t code_stride = 0;
  int64_t n_blocks = 0;
};

// f32 rows: (rows, stride)
struct FloatRows {
  const float* values = nullptr;
  int64_t stride = 0;
};

// Where results go: out[column * stride + row]; whole tiles are written, so rows are padded to 16.
struct Output {
  float* values = nullptr;
  int64_t stride = 0;
  bool add = false;  // onto what is there (a residual), else over it
};

// Tiles of plain values: weights, but also keys (16 positions x D) and values (16 dims x positions).
struct PlainTiles {
  const void* data = nullptr;
  int64_t tile_bytes = 0;
  int64_t n_tiles = 0;
  int64_t depth = 0;                    // k: columns of weights, D of keys, positions of values
  TileFormat format = TileFormat::F32;  // F32, F16 or BF16; I8: codes alone, for weigh_codes
  const void* next = nullptr;           // what is read after the tiles: brought nearer meanwhile, byte for byte
};

// What weigh_codes takes a code of 1 for: codes are widened from the top of their lanes. Whoever scales takes it out.
inline constexpr float kCodeUnit = 16777216.0f;

// A head of a query as int8: value = scale * code.
struct HeadInfo {
  float scale;
  int32_t minus_128_sum;  // -128 * sum of the codes
};

// Keys of one head as int8 with a scale each.
struct CodedKeys {
  const int8_t* codes = nullptr;  // [tile][quad][16 positions][4 dims]
  const float* scales = nullptr;  // [tile][16 positions]
  int64_t n_tiles = 0;
  int64_t n_quads = 0;         // ceil(D / 4)
  const void* next = nullptr;  // as PlainTiles has it
};

struct Kernels {
  Isa isa;
  // x (n) -> codes (n_blocks * 32), blocks (n_blocks)
  void (*quantize)(const float* x, int64_t n, int8_t* codes, BlockInfo* blocks);
  // One activation row against tiles [first, last) of a quantized matrix; out points at row 0 of the matrix.
  void (*gemv)(const PackedMatrix& m, int64_t first, int64_t last, const int8_t* codes, const BlockInfo* blocks,
               const Output& out);
  // The same of 1 to kSkinnyRows rows: each tile is read once for all of them.
  void (*skinny)(const PackedMatrix& m, int64_t first, int64_t last, const QuantizedRows& x, int64_t n_rows,
                 const Output& out);
  // Unpacks one tile for gemm: panel holds n_blocks * 512 code bytes, then n_blocks (x 2 if half) * 16 f32 scales, and
  // as many minima. Its code bytes are this instruction set's own business.
  void (*unpack)(const PackedMatrix& m, int64_t tile, uint8_t* panel);
  int64_t gemm_panel_tiles;  // tiles that gemm takes together at best
  // n_tiles panels of `panel_bytes`, against n_rows activation rows. out points at the first panel's first row.
  void (*gemm)(const PackedMatrix& m, const uint8_t* panels, int64_t panel_bytes, int64_t n_tiles,
               const QuantizedRows& x, int64_t n_rows, const Output& out);
  // Plain tiles against n_rows rows of x.
  void (*gemm_plain)(const PlainTiles& tiles, const FloatRows& x, int64_t n_rows, const Output& out);
  // out = x / sqrt(mean(x^2) + epsilon) * weight                                            // all (n)
  void (*rms_norm)(const float* x, const float* weight, float epsilon, int64_t n, float* out);
  // Rotates the pairs (j, j + half) by the angles whose cosines and sines are given (half); then scales.
  void (*rope)(float* x, const float* cosines, const float* sines, int64_t half, float scale);
  // gate = silu(gate) * up, or gelu_tanh(gate) * up                                         // (n)
  void (*silu_gate)(float* gate, const float* up, int64_t n);
  void (*gelu_gate)(float* gate, const float* up, int64_t n);
  // scores[i] = exp(scores[i] - max) for begin <= i < end, 0 for the rest of [0, padded); -> max and sum
  void (*softmax)(float* scores, int64_t begin, int64_t end, int64_t padded, float* max, float* sum);
  // total = a * total + b * part                                                            // (n)
  void (*blend)(float* total, float a, const float* part, float b, int64_t n);
  void (*add)(float* x, const float* y, int64_t n);       // x += y
  void (*multiply)(float* x, const float* y, int64_t n);  // x *= y
  // Rounded to nearest even; beyond the largest f16 the largest f16.
  void (*to_f16)(const float* x, int64_t n, uint16_t* out);
  // x (n) as int8 under one scale. Codes are written, zero beyond n, to a multiple of 16.
  void (*quantize_head)(const float* x, int64_t n, int8_t* codes, HeadInfo* info);
  // Keys against n_rows queries (n_rows, stride): each score is an integer sum times the two scales.
  void (*score_codes)(const CodedKeys& keys, const int8_t* queries, int64_t stride, const HeadInfo* info,
                      int64_t n_rows, const Output& scores);
  // gemm_plain over tiles of int8 codes, each times kCodeUnit.
  void (*weigh_codes)(const PlainTiles& tiles, const FloatRows& x, int64_t n_rows, const Output& out);
};

const Kernels& scalar_kernels();  // the reference: plain loops
// In builds for x86-64.
const Kernels& avx2_kernels() noexcept;
const Kernels& avx512_kernels() noexcept;
// In builds for arm64.
const Kernels& neon_kernels() noexcept;
const Kernels& neon_dot_kernels() noexcept;
const Kernels& neon_i8mm_kernels() noexcept;
// In builds for WebAssembly.
const Kernels& wasm_kernels() noexcept;
// The table for an instruction set; the next lower one where the build or the machine lacks it.
const Kernels& kernels_for(Isa isa);

}  // namespace attar::runtime
