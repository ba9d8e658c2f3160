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
inline constexpr int64_t kChunkTokens = 256;  // keys and values come in chunks of this many positions
// A block is quantized when its largest magnitude lies between these; 127 / less would overflow. Less counts as 0; NaN
// and infinity become a scale that is not finite, so that they are never lost.
inline constexpr float kLeastQuantized = 1e-30f, kMostQuantized = 3.4028234e38f;

// How the weights of a packed matrix are stored.
enum class TileFormat : uint8_t {
  F32,
  F16,
  BF16,  // plain values, [k][16 rows]; activations stay f32
  U4,
  U4Min,    // 4-bit codes - 8; or 4-bit codes with a minimum. f16 scales (Q4_0, Q4_1)
  U4Min32,  // the same with f32 scales and minima (Q4_K)
  Table4,
  Table4_32,  // 4-bit indices into 16 int8 values; f16 or f32 scales (IQ4_NL; IQ4_XS, MXFP4)
  U5,
  U5Min,
  U5Min32,  // 5-bit codes - 16; with minimum (Q5_0, Q5_1, Q5_K)
  I8,
  I8_32,  // int8 codes; f16 or f32 scales (Q8_0; types without a tile of their own)
  I8Half,
  I8HalfMin,  // int8 codes with f32 scales per 16 columns; with minima (Q6_K, Q3_K; Q2_K)
};
inline constexpr int kTileFormats = 15;

// What a format is made of; everything that reads, writes or multiplies tiles takes it from here.
struct TileTraits {
  uint8_t code_bits;    // 4, 5, 8; 16 or 32: plain values
  uint8_t scale_bytes;  // 2 or 4; 0: plain values
  uint8_t bias;         // added to a code (of a table: to its values) to make it unsigned
  bool has_min;
  bool half;   // two scales per block of 32
  bool table;  // codes are indices into the matrix's table
};
constexpr TileTraits kTileTraits[kTileFormats] = {
    {.code_bits = 32, .scale_bytes = 0, .bias = 0, .has_min = false, .half = false, .table = false},   // F32
    {.code_bits = 16, .scale_bytes = 0, .bias = 0, .has_min = false, .half = false, .table = false},   // F16
    {.code_bits = 16, .scale_bytes = 0, .bias = 0, .has_min = false, .half = false, .table = false},   // BF16
    {.code_bits = 4, .scale_bytes = 2, .bias = 8, .has_min = false, .half = false, .table = false},    // U4
    {.code_bits = 4, .scale_bytes = 2, .bias = 0, .has_min = true, .half = false, .table = false},     // U4Min
    {.code_bits = 4, .scale_bytes = 4, .bias = 0, .has_min = true, .half = false, .table = false},     // U4Min32
    {.code_bits = 4, .scale_bytes = 2, .bias = 128, .has_min = false, .half = false, .table = true},   // Table4
    {.code_bits = 4, .scale_bytes = 4, .bias = 128, .has_min = false, .half = false, .table = true},   // Table4_32
    {.code_bits = 5, .scale_bytes = 2, .bias = 16, .has_min = false, .half = false, .table = false},   // U5
    {.code_bits = 5, .scale_bytes = 2, .bias = 0, .has_min = true, .half = false, .table = false},     // U5Min
    {.code_bits = 5, .scale_bytes = 4, .bias = 0, .has_min = true, .half = false, .table = false},     // U5Min32
    {.code_bits = 8, .scale_bytes = 2, .bias = 128, .has_min = false, .half = false, .table = false},  // I8
    {.code_bits = 8, .scale_bytes = 4, .bias = 128, .has_min = false, .half = false, .table = false},  // I8_32
    {.code_bits = 8, .scale_bytes = 4, .bias = 128, .has_min = false, .half = true, .table = false},   // I8Half
    {.code_bits = 8, .scale_bytes = 4, .bias = 128, .has_min = true, .half = true, .table = false},    // I8HalfMin
};

// A matrix (rows, columns) in tiles. A tile holds its codes, then its scales, then its minima, each for all blocks:
//   codes   [block][code_bits * 64 bytes]     scales, minima   [block (x 2 if half)][16 rows]
//   4 bit   register j of 4: lane r (4 bytes) = row r; low nibbles columns 8j..8j+3, high nibbles 8j+4..8j+7
//   5 bit   the same 256 bytes, then 8 words of 64 bits: bit 4r + i of word j = fifth bit of row r, column 4j + i
//   8 bit   register j of 8: lane r = row r, columns 4j..4j+3, as code + 128
//   plain   [column][16 rows]
struct PackedMatrix {
  const uint8_t* data = nullptr;  // 64-byte aligned
  int64_t rows = 0, columns = 0;
  int64_t n_tiles = 0;   // ceil(rows / 16)
  int64_t n_blocks = 0;  // ceil(columns / 32)
  int64_t tile_bytes = 0, scales_offset = 0, minima_offset = 0;
  TileFormat format = TileFormat::F32;
  alignas(16) uint8_t table[16] = {};  // value + 128, for the table formats
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
const Kernels* avx2_kernels();    // nullptr where this build has none
const Kernels* avx512_kernels();
// The table for an instruction set; the next lower one where the build or the machine lacks it.
const Kernels& kernels_for(Isa isa);

}  // namespace attar::runtime
