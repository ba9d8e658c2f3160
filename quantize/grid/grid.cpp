#include "quantize/grid/grid.h"

#include <cassert>
#include <cmath>
#include <cstring>

#include "quantize/grid/block_search.h"

namespace attar {
namespace {

// The steps of n blocks: two for every 32 columns.
void read_steps(const QuantFormat& format, const std::byte* blocks, int64_t n, Grid::Step* steps) {
  for (int64_t i = 0; i < n * format.block_size / 32; ++i) {
    CodeBlock part;
    format.codes->read(blocks, i, &part);
    for (int half = 0; half < 2; ++half) {
      const float scale = part.scale[half], inverse = 1.0f / scale;  // infinite: of 0, and of MXFP4's least
      steps[2 * i + half] = {scale, std::isfinite(inverse) ? inverse : 0.0f, part.minimum[half]};
    }
  }
}

}  // namespace

Grid grid_of(const QuantFormat& format, std::vector<std::byte> blocks) {
  assert(has_grid(format));
  const auto n_blocks = static_cast<int64_t>(blocks.size()) / format.block_bytes;
  Grid grid{&format, Levels(*format.codes), std::move(blocks), {}};
  grid.steps.resize(static_cast<size_t>(n_blocks * format.block_size / 16));
  read_steps(format, grid.blocks.data(), n_blocks, grid.steps.data());
  return grid;
}

Grid grid_of(const QuantFormat& format, std::span<const BlockScales> scales) {
  assert(has_grid(format));
  std::vector<std::byte> blocks(scales.size() * static_cast<size_t>(format.block_bytes));
  for (size_t b = 0; b < scales.size(); ++b)
    format.codes->write_scales(scales[b], blocks.data() + b * static_cast<size_t>(format.block_bytes));
  return grid_of(format, std::move(blocks));
}

Grid fit_grid(const QuantFormat& format, std::span<const float> rows, std::span<const float> weights) {
  std::vector<BlockScales> scales(rows.size() / static_cast<size_t>(format.block_size));
  search_scales(format, rows, weights, scales.data());
  return grid_of(format, scales);
}

void pack(const Grid& grid, std::span<const int8_t> codes, std::span<std::byte> out) {
  const QuantFormat& format = *grid.format;
  std::memcpy(out.data(), grid.blocks.data(), grid.blocks.size());
  const auto n_blocks = static_cast<int64_t>(codes.size()) / format.block_size;
  for (int64_t b = 0; b < n_blocks; ++b)
    format.codes->write_codes(codes.data() + b * format.block_size, out.data() + b * format.block_bytes);
}

}  // namespace attar
