// Eight columns of up to sixteen rows, rounded at once under a metric of how their errors count together: what error
// feedback on a codebook takes in place of one column after another (LDLQ on blocks, Tseng et al. 2024, arXiv
// 2402.04396). The rows' steps and shifts stay what fit_lattice_blocks found.
#pragma once

#include <cstdint>
#include <span>

#include "quantize/grid/codebook.h"

namespace attar {

inline constexpr int kEight = 8;

// An error e of a row's eight columns costs e M e^T, M symmetric.
struct EightMetric {
  float of[kEight][kEight];
};

// Eight number `eight` of a super-block of each row, whose points and signs are replaced.
struct EightRows {
  std::span<LatticeBlock* const> blocks;  // at most kLanes
  int eight;
};

// x, values (8, kLanes): value j of row l at [j * kLanes + l]. Nearest under M's diagonal; then what the slope of the
// cost asks for is rounded under multiples of that diagonal, for each row as long as one costs less.
void round_eights(const Codebook& book, const EightMetric& metric, const EightRows& rows, const float* x,
                  float* values);

}  // namespace attar
