// A row encoded under weights: every value rounded to the grid that fit_grid finds. Torch-free, on spans.
#pragma once

#include <cstddef>
#include <span>

#include "runtime/formats/blocks/quant_format.h"

namespace attar {

// row (in), weights (in) or empty -> row_bytes(in) bytes. -> weighted squared error of the decoded row.
double encode_row(const QuantFormat& format, std::span<const float> row, std::span<const float> weights,
                  std::span<std::byte> out);

}  // namespace attar
