// Stored blocks into tiles: the other direction of tile.h, which says how each number lies.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "runtime/formats/blocks/blocks.h"
#include "runtime/formats/blocks/quant_format.h"
#include "runtime/kernels/kernels.h"

namespace attar::runtime {

// The numbers of a codebook's points as the kernels look them up, made once for all matrices. -> (points, 8 or 4)
const uint8_t* grid_of(const LatticeCodes& codes, int bias);

// For the matrices of one type of codes.
class TileWriter {
 public:
  TileWriter(const PackedMatrix& m, const QuantFormat& stored);
  // The first rows of a tile that was zero, out of their stored bytes. -> the first that has a weight that is not
  // finite, or -1
  int write(std::span<const std::byte* const> rows, uint8_t* tile) const;

 private:
  int write_plain(const std::byte* const* rows, uint8_t* tile) const;  // of a whole tile
  bool write_row(const std::byte* bytes, int row, uint8_t* tile) const;
  bool write_codes(const std::byte* bytes, int row, uint8_t* block, uint8_t* part) const;
  bool write_points(const std::byte* bytes, int row, uint8_t* block, uint8_t* part) const;
  void write_block(const int8_t* codes, int row, uint8_t* block) const;
  void write_scales(const BlockScales& scales, int row, uint8_t* part) const;

  const PackedMatrix& m_;
  const TileTraits& traits_;
  const TileLayout& layout_;
  const QuantFormat& stored_;
  const blocks::PlainCodes plain_;
  uint8_t index_of_[256] = {};  // of a number in the table
};

}  // namespace attar::runtime
