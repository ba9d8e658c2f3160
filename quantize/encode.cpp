#include "quantize/encode.h"

#include <vector>

#include "quantize/grid.h"

namespace attar {

double encode_row(const QuantFormat& format, std::span<const float> row, std::span<const float> weights,
                  std::span<std::byte> out) {
  std::vector<float> values(row.size());
  if (has_grid(format)) {
    const Grid grid = fit_grid(format, row, weights);
    std::vector<int8_t> codes(row.size());
    for (size_t j = 0; j < row.size(); ++j) {
      const Rounded rounded = round_at(grid, static_cast<int64_t>(j), row[j]);
      codes[j] = rounded.code, values[j] = rounded.value;
    }
    pack(grid, codes, out);
  } else {
    const auto n_blocks = static_cast<int64_t>(row.size()) / format.block_size;
    format.encode(row.data(), n_blocks, out.data());
    format.decode(out.data(), n_blocks, values.data());
  }
  double error = 0.0;
  for (size_t j = 0; j < row.size(); ++j) {
    const double difference = static_cast<double>(values[j]) - static_cast<double>(row[j]);
    error += (weights.empty() ? 1.0 : static_cast<double>(weights[j])) * difference * difference;
  }
  return error;
}

}  // namespace attar
