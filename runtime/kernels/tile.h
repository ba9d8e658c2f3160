// One value of a tile, read by the layouts that kernels.h gives: what the plain kernels are made of, and single rows.
#pragma once

#include <cstdint>
#include <cstring>

#include "runtime/base/half.h"
#include "runtime/kernels/kernels.h"

namespace attar::runtime {

inline const TileTraits& traits_of(const PackedMatrix& m) {
  return kTileTraits[static_cast<int>(m.format)];
}

// A plain value, or a scale or minimum: number `index` of an array.
inline float tile_value(const uint8_t* values, int64_t index, TileFormat format) {
  if (format == TileFormat::F32) {
    float value;
    std::memcpy(&value, values + index * 4, 4);
    return value;
  }
  if (format == TileFormat::I8) return static_cast<int8_t>(values[index]) * kCodeUnit;
  uint16_t bits;
  std::memcpy(&bits, values + index * 2, 2);
  return format == TileFormat::F16 ? f16_to_f32(bits) : bf16_to_f32(bits);
}
inline float tile_scale(const uint8_t* scales, int64_t index, const TileTraits& traits) {
  return tile_value(scales, index, traits.scale_bytes == 4 ? TileFormat::F32 : TileFormat::F16);
}

// Row `r` of 16, column `k` of 32 of a block, as a signed number: value = scale * code + minimum.
inline int tile_code(const PackedMatrix& m, const uint8_t* block, int r, int k) {
  const TileTraits& t = traits_of(m);
  if (t.code_bits == 8) return block[k / 4 * 64 + 4 * r + k % 4] - t.bias;
  const uint8_t pair = block[k / 8 * 64 + 4 * r + k % 4];
  const int code = k / 4 % 2 == 0 ? pair & 15 : pair >> 4;
  if (t.table) return m.table[code] - t.bias;
  const int bit = 4 * r + k % 4;
  const int fifth = t.code_bits == 5 ? block[256 + k / 4 * 8 + bit / 8] >> (bit % 8) & 1 : 0;
  return (fifth << 4 | code) - t.bias;
}

}  // namespace attar::runtime
