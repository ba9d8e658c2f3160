// A tensor's packed bytes as something to train. Codes are those of latents, rounded on the grid that the bytes started
// with; values are those codes on a grid whose block scales d and minimums dmin are trained too and rounded to F16
// where they are used (LSQ, Esser et al. 2020, arXiv 1902.08153, with the scale that divides kept apart from the one
// that multiplies: a change of d moves no code). What K types keep in few bits, the multiples of d and dmin, stays.
// Torch-free, on spans; every function works on blocks by themselves, so they can be dealt to threads.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "quantize/grid/grid.h"

namespace attar {

// d and dmin of consecutive blocks as they are trained: times a power of two, so that they are about as large as
// weights, and learning rates compare. Empty: they stay.
struct BlockSteps {
  std::span<const float> d, dmin;
};

class PackedGrid {
 public:
  static constexpr int64_t kGroup = 16;  // columns that share a scale at least

  PackedGrid(const QuantFormat& format, std::vector<std::byte> blocks);

  int64_t n_blocks() const { return static_cast<int64_t>(grid_.blocks.size()) / format().block_bytes; }
  const QuantFormat& format() const { return *grid_.format; }

  // What the blocks start with; empty where the type keeps none as F16.
  std::vector<float> start_d() const { return start(d_); }
  std::vector<float> start_dmin() const { return start(dmin_); }
  // How far apart neighbouring values are, in the mean over the groups.
  double mean_cell() const;

  // Of `count` blocks from `first` on; all other spans are of those blocks, (count) or (count * block_size).
  struct Blocks {
    int64_t first, count;
  };

  // Latents that round to the blocks' own codes: the values that were encoded, moved into the codes' cells.
  void start_latents(Blocks blocks, const float* original, float* latents) const;

  // The values that pack's bytes decode to, bit for bit.
  void values(Blocks blocks, const BlockSteps& steps, const float* latents, float* out) const;

  // Straight through to the latents, in place of the gradient by the values: those beyond the last code are only pulled
  // back inside. Of d the sum of gradient * code (times the group's multiple), of dmin that of the gradient; spans that
  // are empty are passed over.
  void pull_back(Blocks blocks, const float* latents, float* gradient, std::span<float> by_d,
                 std::span<float> by_dmin) const;

  void pack(Blocks blocks, const BlockSteps& steps, const float* latents, std::span<std::byte> out) const;

 private:
  // Where a block keeps d or dmin, and the power of two that it is trained times.
  struct Place {
    std::optional<int64_t> at;
    float unit = 1.0f;
  };
  std::vector<float> start(const Place& place) const;
  int64_t groups_a_block() const { return format().block_size / kGroup; }
  void value_steps(int64_t block, int64_t in_span, const BlockSteps& steps, Grid::Step* out) const;

  Grid grid_;  // as it started: what latents are rounded on
  Place d_, dmin_;
  std::vector<float> scales_, minimums_;  // (n / 16) of each group: multiples of d and dmin
};

}  // namespace attar
