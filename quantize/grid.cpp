#include "quantize/grid.h"

#include <cassert>
#include <cstring>

#include "quantize/block_search.h"

namespace attar {
namespace {

constexpr int64_t kMostBlockBytes = 210;  // of the types that have a grid

// The steps of n blocks: two for every 32 columns.
void read_steps(const QuantFormat& format, const std::byte* blocks, int64_t n, Grid::Step* steps) {
  for (int64_t i = 0; i < n * format.block_size / 32; ++i) {
    CodeBlock part;
    format.codes->read(blocks, i, &part);
    for (int half = 0; half < 2; ++half) {
      const float scale = part.scale[half];
      steps[2 * i + half] = {scale, scale != 0.0f ? 1.0f / scale : 0.0f, part.minimum[half]};
    }
  }
}

// sum of w (value - x)^2 when one block's scales are kept and every code is the nearest; in double
double rounding_error(const QuantFormat& format, const std::byte* block, const float* x, const float* w) {
  Grid::Step steps[16];
  read_steps(format, block, 1, steps);
  double error = 0.0;
  for (int64_t j = 0; j < format.block_size; ++j) {
    const Grid::Step& step = steps[j / 16];
    const int8_t code = nearest_code(*format.codes, (x[j] - step.minimum) * step.inverse);
    const float value = step.scale * static_cast<float>(code) + step.minimum;
    const double difference = static_cast<double>(value) - static_cast<double>(x[j]);
    error += static_cast<double>(w[j]) * difference * difference;
  }
  return error;
}

}  // namespace

Grid grid_of(const QuantFormat& format, std::vector<std::byte> blocks) {
  assert(has_grid(format));
  const auto n_blocks = static_cast<int64_t>(blocks.size()) / format.block_bytes;
  Grid grid{&format, std::move(blocks), {}};
  grid.steps.resize(static_cast<size_t>(n_blocks * format.block_size / 16));
  read_steps(format, grid.blocks.data(), n_blocks, grid.steps.data());
  return grid;
}

Grid fit_grid(const QuantFormat& format, std::span<const float> row, std::span<const float> weights) {
  const auto n_blocks = static_cast<int64_t>(row.size()) / format.block_size;
  std::vector<std::byte> blocks(static_cast<size_t>(n_blocks * format.block_bytes));
  format.encode(row.data(), n_blocks, blocks.data());
  const std::vector<float> ones(weights.empty() ? static_cast<size_t>(format.block_size) : 0, 1.0f);
  for (int64_t b = 0; b < n_blocks; ++b) {
    const float* x = row.data() + b * format.block_size;
    const float* w = weights.empty() ? ones.data() : weights.data() + b * format.block_size;
    std::byte* block = blocks.data() + b * format.block_bytes;
    std::byte searched[kMostBlockBytes] = {};
    format.codes->write_scales(search_scales(format, x, w), searched);
    if (rounding_error(format, searched, x, w) < rounding_error(format, block, x, w))
      std::memcpy(block, searched, static_cast<size_t>(format.block_bytes));
  }
  return grid_of(format, std::move(blocks));
}

void pack(const Grid& grid, std::span<const int8_t> codes, std::span<std::byte> out) {
  const QuantFormat& format = *grid.format;
  std::memcpy(out.data(), grid.blocks.data(), grid.blocks.size());
  const auto n_blocks = static_cast<int64_t>(codes.size()) / format.block_size;
  for (int64_t b = 0; b < n_blocks; ++b)
    format.codes->write_codes(codes.data() + b * format.block_size, out.data() + b * format.block_bytes);
}

}  // namespace attar
