#include "quantize/encode.h"

#include <algorithm>
#include <vector>

#include "quantize/grid.h"
#include "runtime/base/fast_math.h"

namespace attar {
namespace {

constexpr size_t kGroup = 16;       // columns that share a step at least
constexpr size_t kPiece = 1 << 14;  // values at once: what is kept of them stays in the second-level cache

// Sixteen sums that run side by side.
struct Losses {
  double error[kGroup] = {}, energy[kGroup] = {};
};

ATTAR_VECTOR_CLONES void add_losses(const float* x, const float* value, const float* w, size_t n, Losses& losses) {
  for (size_t j = 0; j < n; ++j) {
    const auto given = static_cast<double>(x[j]), weight = static_cast<double>(w[j]);
    const double difference = static_cast<double>(value[j]) - given;
    losses.error[j] += weight * difference * difference;
    losses.energy[j] += weight * given * given;
  }
}

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

// Whole rows of a type that has a grid.
void encode_on_grid(const QuantFormat& format, std::span<const float> rows, std::span<const float> weights,
                    std::span<std::byte> out, Losses& losses) {
  constexpr float kOnes[kGroup] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};
  const Grid grid = fit_grid(format, rows, weights);
  const auto round = grid.levels.table ? round_table : round_whole;
  std::vector<int8_t> codes(rows.size());
  for (size_t i = 0, column = 0; i < rows.size(); i += kGroup) {
    float values[kGroup];
    round(grid.steps[i / kGroup], grid.levels, &rows[i], &codes[i], values);
    add_losses(&rows[i], values, weights.empty() ? kOnes : &weights[column], kGroup, losses);
    column = column + kGroup < weights.size() ? column + kGroup : 0;
  }
  pack(grid, codes, out);
}

// The same of a type whose values are each by themselves.
void encode_plain(const QuantFormat& format, std::span<const float> rows, std::span<const float> weights,
                  std::span<std::byte> out, Losses& losses) {
  const auto n = static_cast<int64_t>(rows.size());
  std::vector<float> values(rows.size());
  format.encode(rows.data(), n, out.data());
  format.decode(out.data(), n, values.data());
  constexpr float kOne = 1.0f;
  for (size_t i = 0; i < rows.size(); ++i)
    add_losses(&rows[i], &values[i], weights.empty() ? &kOne : &weights[i % weights.size()], 1, losses);
}

}  // namespace

EncodeLoss encode_rows(const QuantFormat& format, std::span<const float> rows, std::span<const float> weights,
                       std::span<std::byte> out) {
  const size_t row = weights.empty() ? static_cast<size_t>(format.block_size) : weights.size();
  const size_t piece = row * std::max<size_t>(1, kPiece / row);
  Losses losses;
  for (size_t first = 0; first < rows.size(); first += piece) {
    const std::span<const float> part = rows.subspan(first, std::min(piece, rows.size() - first));
    const auto begin = static_cast<size_t>(format.row_bytes(static_cast<int64_t>(first))),
               size = static_cast<size_t>(format.row_bytes(static_cast<int64_t>(part.size())));
    (has_grid(format) ? encode_on_grid : encode_plain)(format, part, weights, out.subspan(begin, size), losses);
  }
  EncodeLoss total;
  for (size_t j = 0; j < kGroup; ++j) total.error += losses.error[j], total.energy += losses.energy[j];
  return total;
}

}  // namespace attar
