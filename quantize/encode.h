// Weighted encoders, torch-free, on spans: scales searched and refitted by least squares under weights, never worse
// than the plain encoder (its result is kept when it wins).
#pragma once

#include <cstddef>
#include <span>

#include "runtime/formats/blocks/quant_format.h"

namespace attar {

// row (in), weights (in) or empty -> row_bytes(in) bytes. -> weighted squared error of the decoded row.
double encode_row(const QuantFormat& format, std::span<const float> row, std::span<const float> weights,
                  std::span<std::byte> out);

}  // namespace attar
