// The values that a row's bytes can stand for once its scales are fixed and before any code is chosen:
//   value = scale * code + minimum
// fit_grid searches the scales, round_at gives the nearest value of a column, pack writes the bytes. Plain encoding,
// error feedback, learned rounding and training on the grid round to the same numbers: those that the bytes decode to.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "runtime/formats/blocks/quant_format.h"

namespace attar {

struct Grid {
  struct Step {
    float scale, inverse, minimum;  // inverse: 1 / scale, 0 where the scale is
  };
  const QuantFormat* format;
  std::vector<std::byte> blocks;  // the row's bytes: its scales, and codes that pack replaces
  std::vector<Step> steps;        // (in / 16), as the bytes decode
};

// Types whose rows have a grid: those in blocks that Attar writes.
inline bool has_grid(const QuantFormat& format) {
  return format.codes != nullptr && format.codes->write_codes != nullptr;
}

// The scales that the weighted search finds for a row (in), weights (in) or empty; in each block never worse than the
// plain encoder's.
Grid fit_grid(const QuantFormat& format, std::span<const float> row, std::span<const float> weights);

// The grid of a row that is encoded already.
Grid grid_of(const QuantFormat& format, std::vector<std::byte> blocks);

// The code whose level is nearest to `level`, halves to even; NaN gives some code.
inline int8_t nearest_code(const BlockCodes& codes, float level) {
  if (codes.table == nullptr) {
    constexpr float kWhole = 12582912.0f;  // 1.5 * 2^23: what is added to it loses its fraction
    const float rounded = (level + kWhole) - kWhole;
    return static_cast<int8_t>(
        std::min(static_cast<float>(codes.most), std::max(static_cast<float>(codes.least), rounded)));
  }
  int8_t code = codes.table[0];  // tables ascend
  for (int k = 1; k < 16; ++k)
    if (level > 0.5f * static_cast<float>(codes.table[k - 1] + codes.table[k])) code = codes.table[k];
  return code;
}

// Column j's nearest code for x, and the value that pack's bytes will decode to.
struct Rounded {
  int8_t code;
  float value;
};
inline Rounded round_at(const Grid& grid, int64_t j, float x) {
  const Grid::Step& step = grid.steps[static_cast<size_t>(j / 16)];
  const int8_t code = nearest_code(*grid.format->codes, (x - step.minimum) * step.inverse);
  return {code, step.scale * static_cast<float>(code) + step.minimum};
}

// The row's bytes with codes (in) -> row_bytes(in) bytes.
void pack(const Grid& grid, std::span<const int8_t> codes, std::span<std::byte> out);

}  // namespace attar
