// Rows encoded under weights: every value rounded to the grid that fit_grid finds. Torch-free, on spans.
#pragma once

#include <cstddef>
#include <span>

#include "runtime/formats/blocks/quant_format.h"

namespace attar {

// Weighted sums over the rows, in double: of squared errors and of squares.
struct EncodeLoss {
  double error = 0, energy = 0;
};

// rows (n, in), weights (in; positive, around 1) or empty -> n * row_bytes(in) bytes.
EncodeLoss encode_rows(const QuantFormat& format, std::span<const float> rows, std::span<const float> weights,
                       std::span<std::byte> out);

}  // namespace attar
