// A packed matrix times rows: chooses between the kernels of one row, of a few and of many, and plain tiles.
#pragma once

#include <cstdint>

#include "runtime/kernels/kernels.h"
#include "runtime/kernels/pack.h"

namespace attar::runtime {

// Rows of input in both forms; `quantized` is empty where no consumer wants it.
struct InputRows {
  FloatRows values;
  QuantizedRows quantized;
  int64_t n_rows = 0;
};

// out[row][16 * tile ...] for tiles [first, last) of `m`. `panels` is this thread's scratch.
void multiply(const Kernels& kernels, const Matrix& m, int64_t first, int64_t last, const InputRows& x,
              const Output& out, uint8_t* panels);

}  // namespace attar::runtime
