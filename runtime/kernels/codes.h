// Block formats of GGUF seen as integers: 32 weights as int8 codes with one or two scales and minima,
//   weight = scale * code + minimum,
// exactly, for every type listed here. The int8 kernels run on these; types absent here run on their decoded values.
// Source: the block layouts of ggml-common.h.
#pragma once

#include <cstddef>
#include <cstdint>

#include "runtime/formats/blocks/quant_format.h"
#include "runtime/kernels/kernels.h"

namespace attar::runtime {

struct CodeBlock {
  int8_t codes[kBlock];
  float scale[2];    // of columns 0..15 and 16..31; both equal where the format has one
  float minimum[2];  // zero where the format has none
};

struct CodeFormat {
  TensorType type;
  TileFormat tile;                                                  // which holds the codes without loss
  const int8_t* table;                                              // (16) for the table tiles
  void (*read)(const uint8_t* row, int64_t block, CodeBlock* out);  // the block-th 32 weights of a row
};

const CodeFormat* find_code_format(TensorType type);  // nullptr: none

}  // namespace attar::runtime
