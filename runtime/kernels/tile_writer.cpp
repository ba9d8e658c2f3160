#include "runtime/kernels/tile_writer.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <mutex>
#include <vector>

#include "runtime/kernels/tile.h"

namespace attar::runtime {
namespace {

// Codes that a scale near the largest f32 would carry past it (MXFP4's exponent goes that far).
bool overflows(const CodeBlock& block) {
  constexpr float kSafe = 1e30f;  // times 128, and a minimum added: finite
  for (int h = 0; h < 2; ++h) {
    if (std::fabs(block.scale[h]) < kSafe && std::fabs(block.minimum[h]) < kSafe) continue;
    for (int k = 16 * h; k < 16 * h + 16; ++k)
      if (!std::isfinite(block.scale[h] * static_cast<float>(block.codes[k]) + block.minimum[h])) return true;
  }
  return false;
}

void put_half(uint8_t* halves, int row, uint16_t bits) {
  std::memcpy(halves + 2 * row, &bits, 2);
}

// Four words of each of four rows to four registers of a tile: word w of row r to lane r of register w.
using Words = uint32_t __attribute__((vector_size(16)));
void transpose_words(const std::byte* const* rows, int64_t at, uint32_t flips, uint8_t* tile) {
  Words a, b, c, d;
  std::memcpy(&a, rows[0] + at, sizeof a), std::memcpy(&b, rows[1] + at, sizeof b);
  std::memcpy(&c, rows[2] + at, sizeof c), std::memcpy(&d, rows[3] + at, sizeof d);
  const Words ab = __builtin_shufflevector(a, b, 0, 4, 1, 5), ab_high = __builtin_shufflevector(a, b, 2, 6, 3, 7);
  const Words cd = __builtin_shufflevector(c, d, 0, 4, 1, 5), cd_high = __builtin_shufflevector(c, d, 2, 6, 3, 7);
  const Words turned[4] = {__builtin_shufflevector(ab, cd, 0, 1, 4, 5), __builtin_shufflevector(ab, cd, 2, 3, 6, 7),
                           __builtin_shufflevector(ab_high, cd_high, 0, 1, 4, 5),
                           __builtin_shufflevector(ab_high, cd_high, 2, 3, 6, 7)};
  for (int w = 0; w < 4; ++w) {
    const Words word = turned[w] ^ flips;
    std::memcpy(tile + 64 * w, &word, sizeof word);
  }
}

// 256 trits of a row: five to a byte.
void write_trits(const int8_t* codes, int row, uint8_t* packed) {
  for (int place = 0; place < 64; place += 5)
    for (int i = 0; i < 4; ++i) {
      int number = 0;
      for (int digit = 0; digit < 5; ++digit)
        number = 3 * number + (place + digit < 64 ? codes[4 * (place + digit) + i] + 1 : 0);
      packed[place / 5 * 64 + 4 * row + i] = static_cast<uint8_t>(std::max(1, (number * 256 + 242) / 243));
    }
}

// The signs of 32 codes as they lie in a row's four bytes: bit j of byte i is that of code 4 j + i.
uint32_t signs_of(const uint8_t* eights) {
  uint32_t lane = 0;
  for (int k = 0; k < 32; ++k) lane |= static_cast<uint32_t>((eights[k / 8] >> (k % 8)) & 1) << (8 * (k % 4) + k / 4);
  return lane;
}

// What a row of one block of points keeps in the spare bits of its codes (kernels.h). `points`, `signs`: of the block.
int spare_of(const TileTraits& t, const uint16_t* points, const uint8_t* signs, int scale) {
  int each = 0;
  for (int l = 0; l < 4; ++l) each |= (t.signs == SignKind::Shift ? signs[l] & 1 : points[l] >> 8) << l;
  if (t.signs == SignKind::Shift) return t.scales.bits != 0 ? each : (each & 1) | scale << 1;
  return t.scales.bits != 0 ? each : scale;
}

}  // namespace

const uint8_t* grid_of(const LatticeCodes& codes, int bias) {
  static std::mutex mutex;
  static std::map<const uint16_t*, std::vector<uint8_t>> grids;
  const std::lock_guard lock(mutex);
  std::vector<uint8_t>& grid = grids[codes.points];
  if (grid.empty()) {
    const int unit = codes.signs == LatticeCodes::Signs::Shifts ? 8 : 1;
    std::vector<uint8_t> numbers;
    for (int point = 0; point < codes.n_points; ++point)
      for (int j = 0; j < codes.values; ++j)
        numbers.push_back(static_cast<uint8_t>(unit * static_cast<int>(codes.levels[codes.place(point, j)]) + bias));
    grid = std::move(numbers);
  }
  return grid.data();
}

TileWriter::TileWriter(const PackedMatrix& m, const QuantFormat& stored)
    : m_(m), traits_(traits_of(m)), layout_(layout_of(m)), stored_(stored), plain_(blocks::plain_codes(stored.type)) {
  for (int i = 15; traits_.codes.kind == CodeKind::Indices && i >= 0; --i)
    index_of_[static_cast<uint8_t>(stored.codes->table[i])] = static_cast<uint8_t>(i);
}

int TileWriter::write(std::span<const std::byte* const> rows, uint8_t* tile) const {
  if (plain_.at >= 0 && rows.size() == kTileRows) return write_plain(rows.data(), tile);
  for (size_t row = 0; row < rows.size(); ++row)
    if (!write_row(rows[row], static_cast<int>(row), tile)) return static_cast<int>(row);
  return -1;
}

// All rows of a block together: what is written lies side by side. Planes of eight and of four bits have codes in the
// same order: four bytes are a word of them.
int TileWriter::write_plain(const std::byte* const* rows, uint8_t* tile) const {
  constexpr unsigned kExponent = 0x7c00;  // all ones: infinity, NaN
  constexpr int kRows = static_cast<int>(kTileRows);
  const uint32_t flips = plain_.flips * 0x01010101u;
  bool not_finite[kRows] = {};
  const auto write_halves = [&](int64_t at, uint8_t* halves) {
    for (int row = 0; row < kRows; ++row) {
      const uint16_t bits = blocks::u16_at(rows[row], at);
      put_half(halves, row, bits);
      not_finite[row] |= (bits & kExponent) == kExponent;
    }
  };
  uint8_t* part = tile + m_.scales_offset;
  int64_t at = 0;
  for (int64_t b = 0; b < m_.n_blocks; ++b, at += stored_.block_bytes, part += layout_.scale_bytes) {
    uint8_t* block = tile + b * layout_.code_bytes;
    for (int w = 0; w < plain_.bytes / 4; w += 4)
      for (int row = 0; row < kRows; row += 4)
        transpose_words(rows + row, at + plain_.at + 4 * w, flips, block + 64 * w + 4 * row);
    write_halves(at, part);
    if (traits_.scales.has_min) write_halves(at + 2, part + layout_.part_bytes);
  }
  const bool* bad = std::find(not_finite, not_finite + kRows, true);
  return bad == not_finite + kRows ? -1 : static_cast<int>(bad - not_finite);
}

bool TileWriter::write_row(const std::byte* bytes, int row, uint8_t* tile) const {
  const int64_t together = traits_.scales.blocks;
  uint8_t* part = tile + m_.scales_offset;
  for (int64_t b = 0; b < m_.n_blocks; b += together, bytes += stored_.block_bytes, part += layout_.scale_bytes) {
    uint8_t* block = tile + b * layout_.code_bytes;
    const bool finite =
        stored_.lattice != nullptr ? write_points(bytes, row, block, part) : write_codes(bytes, row, block, part);
    if (!finite) return false;
  }
  return true;
}

bool TileWriter::write_codes(const std::byte* bytes, int row, uint8_t* block, uint8_t* part) const {
  int8_t codes[256];
  for (int b = 0; b < traits_.scales.blocks; ++b) {
    CodeBlock read;
    stored_.codes->read(bytes, b, &read);
    if (overflows(read)) return false;
    std::copy_n(read.codes, kBlock, codes + b * kBlock);
  }
  if (traits_.codes.kind == CodeKind::Trits)
    write_trits(codes, row, block);
  else
    for (int b = 0; b < traits_.scales.blocks; ++b)
      write_block(codes + b * kBlock, row, block + b * layout_.code_bytes);
  BlockScales scales;
  stored_.codes->read_scales(bytes, &scales);
  write_scales(scales, row, part);
  return true;
}

// Four columns make four neighbouring bytes of a register.
void TileWriter::write_block(const int8_t* codes, int row, uint8_t* block) const {
  uint8_t numbers[kBlock];
  const int bias = traits_.codes.bias, lift = traits_.codes.lift;
  if (traits_.codes.kind == CodeKind::Indices)
    for (int k = 0; k < kBlock; ++k) numbers[k] = index_of_[static_cast<uint8_t>(codes[k])];
  else
    for (int k = 0; k < kBlock; ++k) numbers[k] = static_cast<uint8_t>((codes[k] + bias) >> lift);
  uint32_t words[8];
  std::memcpy(words, numbers, sizeof words);
  code_planes(traits_).write_eight(block, 4 * row, words);
}

void TileWriter::write_scales(const BlockScales& scales, int row, uint8_t* part) const {
  const ScaleTraits& s = traits_.scales;
  if (s.kind == ScaleKind::E8M0 || s.kind == ScaleKind::UE4M3) {
    for (int set = 0; set < s.blocks * (s.half ? 2 : 1); ++set) {
      const auto code = static_cast<uint8_t>(scales.scales[set]);
      const bool zero = s.kind == ScaleKind::UE4M3 && code == 0x7f;
      part[set * kTileRows + row] = zero ? uint8_t{0} : s.kind == ScaleKind::UE4M3 ? code & 0x7f : code;
    }
    return;
  }
  const bool multiples = s.kind == ScaleKind::Multiples;
  put_half(part, row, scales.d);
  if (s.has_min)
    put_half(part + layout_.part_bytes, row, static_cast<uint16_t>(scales.dmin ^ (multiples ? 0x8000 : 0)));
  if (s.bits == 0) return;
  const Planes planes = multiple_planes(traits_);
  for (int i = 0; i < s.wholes; ++i) {
    uint8_t* units = part + 2 * kTileRows;
    const int at = i % 2 * static_cast<int>(kTileRows) + row;
    planes.write(units, i / 2, at, static_cast<uint8_t>((scales.scales[i] - s.offset) / s.factor));
    if (s.has_min) planes.write(units + layout_.part_bytes, i / 2, at, static_cast<uint8_t>(scales.minimums[i]));
  }
}

bool TileWriter::write_points(const std::byte* bytes, int row, uint8_t* block, uint8_t* part) const {
  LatticeBlock read;
  stored_.lattice->read(bytes, &read);
  if (!std::isfinite(f16_to_f32(read.d))) return false;
  const int n = static_cast<int>(kBlock) / traits_.point_codes;
  for (int b = 0; b < traits_.scales.blocks; ++b, block += layout_.code_bytes) {
    const uint16_t* points = read.points + b * n;
    const uint8_t* signs = read.signs + 4 * b;
    for (int i = 0; i < n; ++i) block[i * kTileRows + row] = static_cast<uint8_t>(points[i] & 255);
    uint8_t* above = block + points_above(traits_);
    uint32_t lane = traits_.signs == SignKind::Each ? signs_of(signs) : signs_of(signs) & 0x55ffffff;
    if (traits_.signs == SignKind::Shift) lane = 0;
    for (int i = 0; i < n; ++i) {
      const auto high = static_cast<uint8_t>(points[i] >> 8);
      if (traits_.signs == SignKind::Shift) lane |= static_cast<uint32_t>(high) << (4 * i);
      if (traits_.signs == SignKind::Each) index_planes(traits_).write(above, i, row, high);
    }
    if (traits_.signs != SignKind::Each) {
      const int spare = spare_of(traits_, points, signs, read.scales[b]);
      for (int l = 0; l < 4; ++l) lane |= static_cast<uint32_t>((spare >> l) & 1) << spare_place(traits_, l);
    }
    if (traits_.signs == SignKind::Shift)
      put_half(above, row, static_cast<uint16_t>(lane));
    else
      std::memcpy(block + points_signs(m_) + 4 * row, &lane, 4);
  }
  BlockScales scales{.d = read.d};
  for (int i = 0; i < traits_.scales.wholes; ++i) scales.scales[i] = static_cast<int8_t>(2 * read.scales[i] + 1);
  write_scales(scales, row, part);
  return true;
}

}  // namespace attar::runtime
