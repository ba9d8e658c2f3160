// The values that rows of bytes can stand for once their scales are fixed and before any code is chosen:
//   value = scale * code + minimum
// fit_grid searches the scales, round_at gives the nearest value of a column, pack writes the bytes. Plain encoding,
// error feedback, learned rounding and training on the grid round to the same numbers: those that the bytes decode to.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "quantize/grid/levels.h"
#include "runtime/formats/blocks/quant_format.h"

namespace attar {

struct Grid {
  struct Step {
    float scale, inverse, minimum;  // inverse: 1 / scale, 0 where that is infinite
  };
  const QuantFormat* format;
  Levels levels;
  std::vector<std::byte> blocks;  // the rows' bytes: their scales, and codes that pack replaces
  std::vector<Step> steps;        // (n * in / 16), as the bytes decode
};

// Types whose rows have a grid: those in blocks that Attar writes.
inline bool has_grid(const QuantFormat& format) {
  return format.codes != nullptr && format.codes->write_codes != nullptr;
}

// The scales that the weighted search finds for rows (n, in), weights (in) or empty; in each block never worse than the
// plain encoder's. Several rows are one grid, whose columns count on from row to row: blocks are searched sixteen
// groups at a time.
Grid fit_grid(const QuantFormat& format, std::span<const float> rows, std::span<const float> weights);

// The grid of rows that are encoded already, and of scales that somebody else found, one for each block.
Grid grid_of(const QuantFormat& format, std::vector<std::byte> blocks);
Grid grid_of(const QuantFormat& format, std::span<const BlockScales> scales);

// Column j's nearest code for x, and the value that pack's bytes will decode to.
struct Rounded {
  int8_t code;
  float value;
};
inline Rounded round_at(const Grid& grid, int64_t j, float x) {
  const Grid::Step& step = grid.steps[static_cast<size_t>(j / 16)];
  const float level = grid.levels.nearest((x - step.minimum) * step.inverse);
  return {static_cast<int8_t>(level), step.scale * level + step.minimum};
}

// The rows' bytes with codes (n, in).
void pack(const Grid& grid, std::span<const int8_t> codes, std::span<std::byte> out);

}  // namespace attar
