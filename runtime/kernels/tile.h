// One value of a tile, read by the layouts that kernels.h gives: what the plain kernels are made of, and single rows.
#pragma once

#include <cstdint>
#include <cstring>

#include "runtime/base/half.h"
#include "runtime/formats/blocks/blocks.h"
#include "runtime/kernels/kernels.h"

namespace attar::runtime {

inline const TileTraits& traits_of(const PackedMatrix& m) {
  return kTileTraits[static_cast<int>(m.format)];
}
inline const TileLayout& layout_of(const PackedMatrix& m) {
  return kTileLayouts.of[static_cast<int>(m.format)];
}

template <class Word>
Word tile_word(const uint8_t* bytes, int64_t index) {
  Word word;
  std::memcpy(&word, bytes + index * static_cast<int64_t>(sizeof word), sizeof word);
  return word;
}

// A plain value, number `index` of an array.
inline float tile_value(const uint8_t* values, int64_t index, TileFormat format) {
  if (format == TileFormat::F32) return tile_word<float>(values, index);
  if (format == TileFormat::I8) return static_cast<int8_t>(values[index]) * kCodeUnit;
  const auto bits = tile_word<uint16_t>(values, index);
  return format == TileFormat::F16 ? f16_to_f32(bits) : bf16_to_f32(bits);
}

// Numbers in planes: `units` of them share the bytes; unit_bytes apart, number i is at byte `at` of each.
struct Planes {
  int bits, units, unit_bytes;

  int read(const uint8_t* planes, int i, int at) const {
    int number = 0, low = 0;
    for (int p = 8; p > 0; p /= 2) {
      if ((bits & p) == 0) continue;
      const int stride = units * p / 8;
      number |= ((planes[i % stride * unit_bytes + at] >> (i / stride * p)) & ((1 << p) - 1)) << low;
      planes += stride * unit_bytes;
      low += p;
    }
    return number;
  }
  // Eight words of four numbers, which are all that share the bytes (units = 8); four of a word in neighbouring bytes.
  void write_eight(uint8_t* planes, int at, uint32_t (&words)[8]) const {
    planes = write_bits<8>(planes, at, words);
    planes = write_bits<4>(planes, at, words);
    planes = write_bits<2>(planes, at, words);
    write_bits<1>(planes, at, words);
  }
  // A number onto zeros.
  void write(uint8_t* planes, int i, int at, unsigned number) const {
    for (int p = 8; p > 0; p /= 2) {
      if ((bits & p) == 0) continue;
      const int stride = units * p / 8;
      const unsigned part = (number & ((1u << p) - 1)) << (i / stride * p);
      planes[i % stride * unit_bytes + at] = static_cast<uint8_t>(planes[i % stride * unit_bytes + at] | part);
      number >>= p;
      planes += stride * unit_bytes;
    }
  }

 private:
  // The lowest kBits of each number, where there is a plane of so many; they are taken off. -> the next plane
  template <int kBits>
  uint8_t* write_bits(uint8_t* planes, int at, uint32_t (&words)[8]) const {
    if ((bits & kBits) == 0) return planes;
    constexpr uint32_t kMask = 0x01010101u * ((1u << kBits) - 1);
    for (int r = 0; r < kBits; ++r, planes += unit_bytes) {
      uint32_t sum = 0;
      for (int k = 0; k < 8 / kBits; ++k) sum |= (words[r + k * kBits] & kMask) << (k * kBits);
      std::memcpy(planes + at, &sum, sizeof sum);
    }
    for (uint32_t& word : words) word = (word & ~kMask) >> (kBits % 8);
    return planes;
  }
};
inline Planes code_planes(const TileTraits& t) {
  return {t.codes.bits, 8, 64};
}
inline Planes index_planes(const TileTraits& t) {  // what is above the low 8 bits of IQ3_S and IQ2_S
  return {t.index_bits - 8, static_cast<int>(kBlock) / t.point_codes, static_cast<int>(kTileRows)};
}
inline constexpr Planes kSignPlanes{1, 8, 64};
inline Planes multiple_planes(const TileTraits& t) {
  return {t.scales.bits, t.scales.wholes / 2, 2 * static_cast<int>(kTileRows)};
}

// Where the parts of a block of points begin.
inline int64_t points_above(const TileTraits& t) {
  return kBlock / t.point_codes * kTileRows;
}
inline int64_t points_signs(const PackedMatrix& m) {
  return layout_of(m).code_bytes - 64;
}
// The place of spare bit l of 4: of 32 bits at the row's signs, or of 16 at what is above its indices.
inline int spare_place(const TileTraits& t, int l) {
  return t.signs == SignKind::Shift ? 4 * l + 3 : 25 + 2 * l;
}
inline int spare_bits(const PackedMatrix& m, const uint8_t* block, int row) {
  const TileTraits& t = traits_of(m);
  const uint32_t bits = t.signs == SignKind::Shift ? tile_word<uint16_t>(block + points_above(t), row)
                                                   : tile_word<uint32_t>(block + points_signs(m), row);
  int spare = 0;
  for (int l = 0; l < 4; ++l) spare |= static_cast<int>((bits >> spare_place(t, l)) & 1) << l;
  return spare;
}

inline int point_index(const PackedMatrix& m, const uint8_t* block, int row, int i) {
  const TileTraits& t = traits_of(m);
  const int low = block[i * kTileRows + row];
  if (t.index_bits == 8) return low;
  if (t.signs == SignKind::Even) return low | ((spare_bits(m, block, row) >> i) & 1) << 8;
  const uint8_t* above = block + points_above(t);
  if (t.signs == SignKind::Shift) return low | ((tile_word<uint16_t>(above, row) >> (4 * i)) & 7) << 8;
  return low | index_planes(t).read(above, i, row) << 8;
}

// Column k of 32 of a block of points.
inline int point_code(const PackedMatrix& m, const uint8_t* block, int row, int k) {
  const TileTraits& t = traits_of(m);
  const int values = t.point_codes;
  const int number = m.grid[point_index(m, block, row, k / values) * values + k % values] - t.codes.bias;
  if (t.signs == SignKind::Shift) {
    const int shifts = spare_bits(m, block, row) >> (t.scales.bits == 0 ? 0 : k / 8);
    return (shifts & 1) != 0 ? number - 1 : number + 1;
  }
  const auto sign = [&](int column) {
    return kSignPlanes.read(block + points_signs(m), column / 4, 4 * row + column % 4);
  };
  int minus = 0;
  if (t.signs == SignKind::Even && k % 8 == 7)
    for (int column = k - 7; column < k; ++column) minus ^= sign(column);
  else
    minus = sign(k);
  return minus != 0 ? -number : number;
}

// Row `row` of 16 of a tile, as a signed number: value = scale * code + minimum.
inline int tile_code(const PackedMatrix& m, const uint8_t* tile, int row, int64_t column) {
  const CodeTraits& c = traits_of(m).codes;
  const int64_t b = column / kBlock;
  const int k = static_cast<int>(column % kBlock), at = 4 * row + k % 4;
  const uint8_t* block = tile + b * layout_of(m).code_bytes;
  if (c.kind == CodeKind::Trits) {
    const int place = static_cast<int>(b % 8 * 8) + k / 4;
    int byte = tile[b / 8 * 8 * layout_of(m).code_bytes + place / 5 * 64 + at];
    for (int i = 0; i < place % 5; ++i) byte = byte * 3 & 255;
    return (byte * 3 >> 8) - c.bias;
  }
  if (c.kind == CodeKind::Points) return point_code(m, block, row, k);
  const int number = code_planes(traits_of(m)).read(block, k / 4, at);
  return (c.kind == CodeKind::Indices ? m.table[number] : number << c.lift) - c.bias;
}

// Scale number `set` of a row: of block set, or half block; or its minimum.
inline float tile_scale(const PackedMatrix& m, const uint8_t* tile, int row, int64_t set, bool minimum = false) {
  const TileTraits& t = traits_of(m);
  const ScaleTraits& s = t.scales;
  const int64_t sets = s.blocks * (s.half ? 2 : 1);
  const uint8_t* part =
      tile + m.scales_offset + set / sets * layout_of(m).scale_bytes + (minimum ? layout_of(m).part_bytes : 0);
  const auto own = static_cast<int>(set % sets);
  if (s.kind == ScaleKind::E8M0) return blocks::e8m0_half(part[own * kTileRows + row]);
  if (s.kind == ScaleKind::UE4M3) return blocks::ue4m3_half(part[own * kTileRows + row] | 0x80);
  const float step = f16_to_f32(tile_word<uint16_t>(part, row));
  if (s.kind == ScaleKind::F16) return step;
  const auto i = static_cast<int>(own * s.wholes / sets);
  int whole = 0;
  if (s.bits != 0)
    whole = multiple_planes(t).read(part + 2 * kTileRows, i / 2, i % 2 * static_cast<int>(kTileRows) + row);
  else
    whole = spare_bits(m, tile + set / 2 * layout_of(m).code_bytes, row) >> (t.signs == SignKind::Shift ? 1 : 0);
  return step * static_cast<float>(s.eighths) * 0.125f * static_cast<float>(s.factor * whole + s.offset);
}

}  // namespace attar::runtime
