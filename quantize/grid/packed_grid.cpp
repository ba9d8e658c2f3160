#include "quantize/grid/packed_grid.h"

#include <algorithm>
#include <bit>
#include <cassert>
#include <cmath>

#include "quantize/grid/block_steps.h"
#include "runtime/base/fast_math.h"
#include "runtime/base/half.h"

namespace attar {
namespace {

constexpr int kGroup = PackedGrid::kGroup;
constexpr int kMostGroups = 16;   // of a block
constexpr float kMargin = 0.02f;  // of a cell: how far inside a latent starts at least

// How far a code's cell reaches below and above it, in levels; that of the last code as far as on its other side.
struct Cell {
  float below, above;
};
Cell cell_of(const Levels& levels, float level) {
  if (!levels.table) return {0.5f, 0.5f};
  int place = 0;
  while (place < 15 && level > levels.middles[place]) ++place;
  const float below = place > 0 ? 0.5f * levels.gaps[place - 1] : 0.5f * levels.gaps[0],
              above = place < 15 ? 0.5f * levels.gaps[place] : 0.5f * levels.gaps[14];
  return {below, above};
}

// Of groups that follow each other: `start` rounds, `now` gives values.
template <bool kTable>
inline __attribute__((always_inline)) void values_of(const Grid::Step* start, const Grid::Step* now, int64_t groups,
                                                     const Levels& all, const float* x, float* out) {
  const Levels levels = all;
  for (int64_t g = 0; g < groups; ++g, x += kGroup, out += kGroup) {
    const Grid::Step divide = start[g];
    const float scale = now[g].scale, minimum = now[g].minimum;
    for (int j = 0; j < kGroup; ++j)
      out[j] = scale * levels.nearest<kTable>((x[j] - divide.minimum) * divide.inverse) + minimum;
  }
}
ATTAR_VECTOR_CLONES void whole_values(const Grid::Step* start, const Grid::Step* now, int64_t groups,
                                      const Levels& levels, const float* x, float* out) {
  values_of<false>(start, now, groups, levels, x, out);
}
ATTAR_VECTOR_CLONES void table_values(const Grid::Step* start, const Grid::Step* now, int64_t groups,
                                      const Levels& levels, const float* x, float* out) {
  values_of<true>(start, now, groups, levels, x, out);
}

// Sums of a group, added in pairs.
inline __attribute__((always_inline)) float sum_of_group(float* lanes) {
  for (int width = kGroup / 2; width > 0; width /= 2)
    for (int j = 0; j < width; ++j) lanes[j] += lanes[j + width];
  return lanes[0];
}

// Sums of gradient * code and of gradient over each group, and the gradient as it goes through to the latents.
struct GroupGradients {
  float by_code[kMostGroups], sum[kMostGroups];
};
template <bool kTable>
inline __attribute__((always_inline)) void gradients_of(const Grid::Step* start, int64_t groups, const Levels& all,
                                                        const float* x, float* gradient, GroupGradients& out) {
  const Levels levels = all;
  const float low = levels.least - (kTable ? 0.5f * levels.gaps[0] : 0.5f),
              high = levels.most + (kTable ? 0.5f * levels.gaps[14] : 0.5f);
  for (int64_t g = 0; g < groups; ++g, x += kGroup, gradient += kGroup) {
    const Grid::Step divide = start[g];
    float by_code[kGroup], sum[kGroup];
    for (int j = 0; j < kGroup; ++j) {
      const float place = (x[j] - divide.minimum) * divide.inverse, level = levels.nearest<kTable>(place);
      const float given = gradient[j], outwards = divide.scale * (place - level);
      const bool passes = (place >= low && place <= high) || given * outwards > 0.0f;
      by_code[j] = given * level;
      sum[j] = given;
      gradient[j] = passes ? given : 0.0f;
    }
    out.by_code[g] = sum_of_group(by_code);
    out.sum[g] = sum_of_group(sum);
  }
}
ATTAR_VECTOR_CLONES void whole_gradients(const Grid::Step* start, int64_t groups, const Levels& levels, const float* x,
                                         float* gradient, GroupGradients& out) {
  gradients_of<false>(start, groups, levels, x, gradient, out);
}
ATTAR_VECTOR_CLONES void table_gradients(const Grid::Step* start, int64_t groups, const Levels& levels, const float* x,
                                         float* gradient, GroupGradients& out) {
  gradients_of<true>(start, groups, levels, x, gradient, out);
}

// A latent of `level` as near to x as it may be.
float start_latent(const Grid::Step& step, const Levels& levels, float level, float x) {
  const auto rounds_to_it = [&](float latent) {
    return levels.nearest((latent - step.minimum) * step.inverse) == level;
  };
  const Cell cell = cell_of(levels, level);
  const float place = (x - step.minimum) * step.inverse;
  const float inside =
      std::clamp(place, level - (1.0f - 2.0f * kMargin) * cell.below, level + (1.0f - 2.0f * kMargin) * cell.above);
  const float latent = inside == place ? x : step.scale * inside + step.minimum;
  return std::isfinite(latent) && rounds_to_it(latent) ? latent : step.scale * level + step.minimum;
}

}  // namespace

PackedGrid::PackedGrid(const QuantFormat& format, std::vector<std::byte> blocks)
    : grid_(grid_of(format, std::move(blocks))) {
  assert(groups_a_block() <= kMostGroups);
  const StepPlaces places = step_places(format);
  d_.at = places.d, dmin_.at = places.dmin;
  const Grid multiples = multiples_of(grid_);
  float most_scale = 1.0f, most_minimum = 1.0f;
  for (const Grid::Step& step : multiples.steps) {
    scales_.push_back(step.scale), minimums_.push_back(step.minimum);
    most_scale = std::max(most_scale, std::fabs(step.scale)),
    most_minimum = std::max(most_minimum, std::fabs(step.minimum));
  }
  const auto power_of_two = [](float most) { return static_cast<float>(std::bit_ceil(static_cast<uint32_t>(most))); };
  d_.unit = power_of_two(most_scale) * power_of_two(std::max(grid_.levels.most, -grid_.levels.least));
  dmin_.unit = power_of_two(most_minimum);
}

std::vector<float> PackedGrid::start(const Place& place) const {
  std::vector<float> out;
  for (int64_t b = 0; place.at && b < n_blocks(); ++b)
    out.push_back(place.unit * half_at(grid_.blocks.data() + b * format().block_bytes, *place.at));
  return out;
}

double PackedGrid::mean_cell() const {
  double sum = 0.0;
  for (const Grid::Step& step : grid_.steps) sum += static_cast<double>(std::fabs(step.scale));
  return sum / static_cast<double>(grid_.steps.size()) * static_cast<double>(grid_.levels.mean_gap());
}

// The steps of block `block`, which is `in_span` of the spans.
void PackedGrid::value_steps(int64_t block, int64_t in_span, const BlockSteps& steps, Grid::Step* out) const {
  const int64_t groups = groups_a_block(), first = block * groups;
  std::copy_n(grid_.steps.begin() + first, groups, out);
  const auto used = [&](float trained, float unit) { return f16_to_f32(f32_to_f16(trained / unit)); };
  if (!steps.d.empty()) {
    const float d = used(steps.d[static_cast<size_t>(in_span)], d_.unit);
    for (int64_t g = 0; g < groups; ++g) out[g].scale = d * scales_[static_cast<size_t>(first + g)];
  }
  if (!steps.dmin.empty()) {
    const float dmin = used(steps.dmin[static_cast<size_t>(in_span)], dmin_.unit);
    for (int64_t g = 0; g < groups; ++g) out[g].minimum = dmin * minimums_[static_cast<size_t>(first + g)];
  }
}

void PackedGrid::start_latents(Blocks blocks, const float* original, float* latents) const {
  const int64_t size = format().block_size;
  CodeBlock part;
  for (int64_t i = blocks.first * size / 32; i < (blocks.first + blocks.count) * size / 32; ++i) {
    format().codes->read(grid_.blocks.data(), i, &part);
    for (int j = 0; j < 32; ++j)
      *latents++ = start_latent(grid_.steps[static_cast<size_t>(2 * i + j / 16)], grid_.levels,
                                static_cast<float>(part.codes[j]), *original++);
  }
}

void PackedGrid::values(Blocks blocks, const BlockSteps& steps, const float* latents, float* out) const {
  const int64_t groups = groups_a_block();
  const auto of_groups = grid_.levels.table ? table_values : whole_values;
  Grid::Step now[kMostGroups];
  for (int64_t b = 0; b < blocks.count; ++b) {
    const int64_t block = blocks.first + b, at = b * format().block_size;
    value_steps(block, b, steps, now);
    of_groups(&grid_.steps[static_cast<size_t>(block * groups)], now, groups, grid_.levels, latents + at, out + at);
  }
}

void PackedGrid::pull_back(Blocks blocks, const float* latents, float* gradient, std::span<float> by_d,
                           std::span<float> by_dmin) const {
  const int64_t groups = groups_a_block();
  const auto of_groups = grid_.levels.table ? table_gradients : whole_gradients;
  GroupGradients sums;
  for (int64_t b = 0; b < blocks.count; ++b) {
    const int64_t block = blocks.first + b, at = b * format().block_size;
    const auto first = static_cast<size_t>(block * groups);
    of_groups(&grid_.steps[first], groups, grid_.levels, latents + at, gradient + at, sums);
    float d = 0.0f, dmin = 0.0f;
    for (int64_t g = 0; g < groups; ++g) {
      d += scales_[first + static_cast<size_t>(g)] * sums.by_code[g];
      dmin += minimums_[first + static_cast<size_t>(g)] * sums.sum[g];
    }
    if (!by_d.empty()) by_d[static_cast<size_t>(b)] = d / d_.unit;
    if (!by_dmin.empty()) by_dmin[static_cast<size_t>(b)] = dmin / dmin_.unit;
  }
}

void PackedGrid::pack(Blocks blocks, const BlockSteps& steps, const float* latents, std::span<std::byte> out) const {
  const int64_t size = format().block_size, bytes = format().block_bytes;
  std::vector<int8_t> codes(static_cast<size_t>(size));
  for (int64_t b = 0; b < blocks.count; ++b) {
    const int64_t block = blocks.first + b;
    std::byte* to = out.data() + b * bytes;
    std::copy_n(grid_.blocks.data() + block * bytes, bytes, to);
    const auto put = [&](std::span<const float> trained, const Place& place) {
      if (!trained.empty()) put_half(to, *place.at, trained[static_cast<size_t>(b)] / place.unit);
    };
    put(steps.d, d_), put(steps.dmin, dmin_);
    for (int64_t j = 0; j < size; ++j)
      codes[static_cast<size_t>(j)] = round_at(grid_, block * size + j, latents[b * size + j]).code;
    format().codes->write_codes(codes.data(), to);
  }
}

}  // namespace attar
