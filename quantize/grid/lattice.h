// Rows as points of a codebook: IQ3, IQ2 and IQ1. A group's scale and its points are searched together, since what is
// nearest depends on the scale: candidates around its peak, the best scale for the points of each by least squares, and
// again; then whole multiples of a super-block's one step, moved and refitted as those of K types are.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "quantize/grid/codebook.h"
#include "runtime/formats/blocks/quant_format.h"

namespace attar {

// rows (n, in), weights (in) or empty -> (n * in / 256). Blocks are searched by themselves, several side by side.
std::vector<LatticeBlock> fit_lattice_blocks(const QuantFormat& format, std::span<const float> rows,
                                             std::span<const float> weights);

// Their bytes: (blocks * block_bytes).
void write_lattice(const QuantFormat& format, std::span<const LatticeBlock> blocks, std::span<std::byte> out);

// The step of group g.
float lattice_step(const LatticeCodes& codes, const LatticeBlock& block, int group);

}  // namespace attar
