#include "quantize/grid/encode.h"

#include <algorithm>
#include <vector>

#include "quantize/grid/grid.h"
#include "quantize/grid/lattice.h"
#include "runtime/base/fast_math.h"

namespace attar {
namespace {

constexpr size_t kGroup = 16;       // columns that share a step at least
constexpr size_t kRun = 256;        // columns whose losses are added together
constexpr size_t kPiece = 1 << 14;  // values at once: what is kept of them stays in the second-level cache

// Sums that run side by side.
struct Losses {
  double error[kGroup] = {}, energy[kGroup] = {};
};

// Of n values: whole groups, or less than one.
ATTAR_VECTOR_CLONES void add_losses(const float* x, const float* value, const float* w, size_t n, Losses& losses) {
  double error[kGroup], energy[kGroup];
  for (size_t l = 0; l < kGroup; ++l) error[l] = losses.error[l], energy[l] = losses.energy[l];
  const auto add = [&](size_t i, size_t l) __attribute__((always_inline)) {
    const auto given = static_cast<double>(x[i]), weight = static_cast<double>(w[i]);
    const double difference = static_cast<double>(value[i]) - given;
    error[l] += weight * difference * difference;
    energy[l] += weight * given * given;
  };
  size_t i = 0;
  for (; i + kGroup <= n; i += kGroup)
    for (size_t l = 0; l < kGroup; ++l) add(i + l, l);
  for (size_t l = 0; i < n; ++i, ++l) add(i, l);
  for (size_t l = 0; l < kGroup; ++l) losses.error[l] = error[l], losses.energy[l] = energy[l];
}

struct Ones {
  float of[kRun];
  constexpr Ones() : of{} {
    for (float& one : of) one = 1.0f;
  }
};
constexpr Ones kOnes;

// round_at of sixteen columns that share a step.
template <bool kTable>
inline __attribute__((always_inline)) void round_group(const Grid::Step& given, const Levels& all, const float* x,
                                                       int8_t* code, float* value) {
  const Grid::Step step = given;
  const Levels levels = all;
  for (size_t j = 0; j < kGroup; ++j) {
    const float level = levels.nearest<kTable>((x[j] - step.minimum) * step.inverse);
    code[j] = static_cast<int8_t>(static_cast<int32_t>(level));
    value[j] = step.scale * level + step.minimum;
  }
}
ATTAR_VECTOR_CLONES void round_whole(const Grid::Step& step, const Levels& levels, const float* x, int8_t* code,
                                     float* value) {
  round_group<false>(step, levels, x, code, value);
}
ATTAR_VECTOR_CLONES void round_table(const Grid::Step& step, const Levels& levels, const float* x, int8_t* code,
                                     float* value) {
  round_group<true>(step, levels, x, code, value);
}

// Of rows and the values that they are encoded as. rows, values (n, in), weights (in) or empty
void add_row_losses(std::span<const float> rows, const std::vector<float>& values, std::span<const float> weights,
                    Losses& losses) {
  const size_t in = weights.empty() ? rows.size() : weights.size();
  for (size_t first = 0; first < rows.size(); first += in)
    for (size_t column = 0; column < in; column += kRun)
      add_losses(&rows[first + column], &values[first + column], weights.empty() ? kOnes.of : &weights[column],
                 std::min(kRun, in - column), losses);
}

}  // namespace

EncodeLoss encode_rows(const QuantFormat& format, std::span<const float> rows, std::span<const float> weights,
                       std::span<std::byte> out) {
  const size_t row = weights.empty() ? static_cast<size_t>(format.block_size) : weights.size();
  const size_t piece = std::min(rows.size(), row * std::max<size_t>(1, kPiece / row));
  std::vector<float> values;
  std::vector<int8_t> codes;
  Losses losses;
  for (size_t first = 0; first < rows.size(); first += piece) {
    const std::span<const float> part = rows.subspan(first, std::min(piece, rows.size() - first));
    const std::span<std::byte> bytes = out.subspan(static_cast<size_t>(format.row_bytes(static_cast<int64_t>(first))));
    values.resize(part.size());
    if (has_grid(format)) {
      const Grid grid = fit_grid(format, part, weights);
      const auto round = grid.levels.table ? round_table : round_whole;
      codes.resize(part.size());
      for (size_t i = 0; i < part.size(); i += kGroup)
        round(grid.steps[i / kGroup], grid.levels, &part[i], &codes[i], &values[i]);
      pack(grid, codes, bytes);
    } else {
      const auto n_blocks = static_cast<int64_t>(part.size()) / format.block_size;
      if (format.lattice != nullptr)
        write_lattice(format, fit_lattice_blocks(format, part, weights), bytes);
      else
        format.encode(part.data(), n_blocks, bytes.data());
      format.decode(bytes.data(), n_blocks, values.data());
    }
    add_row_losses(part, values, weights, losses);
  }
  EncodeLoss total;
  for (size_t l = 0; l < kGroup; ++l) total.error += losses.error[l], total.energy += losses.energy[l];
  return total;
}

}  // namespace attar
