// The lattice types written: layouts as in blocks_lattice.cpp, and a plain encoder, which takes every group's scale of
// its peak and the point nearest to each 4 or 8 values by trying all.
#include <algorithm>
#include <bit>

#include "runtime/formats/blocks/blocks.h"
#include "runtime/formats/blocks/lattice_grids.h"

namespace attar::blocks {
namespace {

constexpr int kSuper = 256;

void put(std::byte* block, int64_t offset, int value) {
  block[offset] = static_cast<std::byte>(value);
}
void add_bits(std::byte* block, int64_t offset, int bits) {
  block[offset] |= static_cast<std::byte>(bits);
}
void put_u32(std::byte* block, int64_t offset, uint32_t value) {
  put_u16(block, offset, static_cast<uint16_t>(value & 0xffff));
  put_u16(block, offset + 2, static_cast<uint16_t>(value >> 16));
}
void put_nibbles(const uint8_t* values, int n, std::byte* block) {
  for (int i = 0; i < n; i += 2) put(block, i / 2, values[i] | (values[i + 1] << 4));
}
// Seven signs of each of 32 weights' four eights, and their scale on top.
uint32_t signs_and_scale(const LatticeBlock& from, int group) {
  uint32_t word = static_cast<uint32_t>(from.scales[group]) << 28;
  for (int l = 0; l < 4; ++l) word |= static_cast<uint32_t>(from.signs[4 * group + l] & 127) << (7 * l);
  return word;
}

void write_iq2_xxs(const LatticeBlock& from, std::byte* block) {
  put_u16(block, 0, from.d);
  for (int group = 0; group < 8; ++group) {
    for (int l = 0; l < 4; ++l) put(block, 2 + 8 * group + l, from.points[4 * group + l]);
    put_u32(block, 2 + 8 * group + 4, signs_and_scale(from, group));
  }
}

void write_iq2_xs(const LatticeBlock& from, std::byte* block) {
  put_u16(block, 0, from.d);
  for (int i = 0; i < 32; ++i)
    put_u16(block, 2 + 2 * i, static_cast<uint16_t>(from.points[i] | ((from.signs[i] & 127) << 9)));
  put_nibbles(from.scales, 16, block + 66);
}

void write_iq2_s(const LatticeBlock& from, std::byte* block) {
  std::fill_n(block, 82, std::byte{});
  put_u16(block, 0, from.d);
  for (int i = 0; i < 32; ++i) {
    put(block, 2 + i, from.points[i] & 255), put(block, 34 + i, from.signs[i]);
    add_bits(block, 66 + i / 4, (from.points[i] >> 8) << (2 * (i % 4)));
  }
  put_nibbles(from.scales, 16, block + 74);
}

void write_iq3_xxs(const LatticeBlock& from, std::byte* block) {
  put_u16(block, 0, from.d);
  for (int i = 0; i < 64; ++i) put(block, 2 + i, from.points[i]);
  for (int group = 0; group < 8; ++group) put_u32(block, 66 + 4 * group, signs_and_scale(from, group));
}

void write_iq3_s(const LatticeBlock& from, std::byte* block) {
  std::fill_n(block, 110, std::byte{});
  put_u16(block, 0, from.d);
  for (int i = 0; i < 64; ++i) {
    put(block, 2 + i, from.points[i] & 255);
    add_bits(block, 66 + i / 8, (from.points[i] >> 8) << (i % 8));
  }
  for (int i = 0; i < 32; ++i) put(block, 74 + i, from.signs[i]);
  put_nibbles(from.scales, 8, block + 106);
}

void write_iq1_s(const LatticeBlock& from, std::byte* block) {
  put_u16(block, 0, from.d);
  for (int group = 0; group < 8; ++group) {
    int high = (from.scales[group] << 12) | ((from.signs[4 * group] & 1) << 15);
    for (int l = 0; l < 4; ++l) {
      put(block, 2 + 4 * group + l, from.points[4 * group + l] & 255);
      high |= (from.points[4 * group + l] >> 8) << (3 * l);
    }
    put_u16(block, 34 + 2 * group, static_cast<uint16_t>(high));
  }
}

void write_iq1_m(const LatticeBlock& from, std::byte* block) {
  std::fill_n(block, 56, std::byte{});
  for (int i = 0; i < 32; ++i) {
    put(block, i, from.points[i] & 255);
    add_bits(block, 32 + i / 2, ((from.points[i] >> 8) | ((from.signs[i] & 1) << 3)) << (4 * (i % 2)));
  }
  for (int word = 0; word < 4; ++word) {
    int bits = ((from.d >> (4 * word)) & 15) << 12;
    for (int k = 0; k < 4; ++k) bits |= from.scales[4 * word + k] << (3 * k);
    put_u16(block, 48 + 2 * word, static_cast<uint16_t>(bits));
  }
}

using Signs = LatticeCodes::Signs;

// A group's nearest points at a step, one after another.
struct PlainSearch {
  const LatticeCodes& codes;
  float step;

  float level(int point, int j, float shift) const { return step * (codes.levels[codes.place(point, j)] + shift); }
  float error(int point, const float* values, float shift) const {
    float sum = 0.0f;
    for (int j = 0; j < codes.values; ++j) {
      const float difference = level(point, j, shift) - values[j];
      sum += difference * difference;
    }
    return sum;
  }
  // -> the error; values (codes.values)
  float nearest(const float* values, float shift, uint16_t* point) const {
    float best = HUGE_VALF;
    for (int p = 0; p < codes.n_points; ++p)
      if (const float own = error(p, values, shift); own < best) best = own, *point = static_cast<uint16_t>(p);
    return best;
  }
  // Of `shared` values from place `at` on.
  void with_shift(const float* values, int at, LatticeBlock& out) const {
    float best = HUGE_VALF;
    for (const int negative : {0, 1}) {
      uint16_t points[4] = {};
      float sum = 0.0f;
      for (int i = 0; i < codes.shared / 8; ++i)
        sum += nearest(values + at + 8 * i, negative ? -kShift : kShift, points + i);
      if (!(sum < best)) continue;
      best = sum;
      std::copy_n(points, codes.shared / 8, out.points + at / 8);
      std::fill_n(out.signs + at / 8, codes.shared / 8, static_cast<uint8_t>(negative));
    }
  }
  // Of eight values from place `at` on: where their minuses would be odd, the smallest goes with the wrong sign.
  void with_signs(const float* values, int at, LatticeBlock& out) const {
    float magnitude[8];
    int minuses = 0, smallest = 0;
    for (int j = 0; j < 8; ++j) {
      magnitude[j] = std::fabs(values[at + j]);
      minuses |= static_cast<int>(values[at + j] < 0.0f) << j;
      if (magnitude[j] < magnitude[smallest]) smallest = j;
    }
    if (codes.signs == Signs::Even && std::popcount(static_cast<unsigned>(minuses)) % 2 == 1)
      minuses ^= 1 << smallest, magnitude[smallest] = -magnitude[smallest];
    out.signs[at / 8] = static_cast<uint8_t>(minuses);
    for (int j = 0; j < 8; j += codes.values) nearest(magnitude + j, 0.0f, out.points + (at + j) / codes.values);
  }
};

float peak_of(const float* values, int n) {
  return std::fabs(signed_peak(values, n));
}

}  // namespace

LatticeBlock fit_lattice(const LatticeCodes& codes, const float* values) {
  LatticeBlock out;
  const float top = codes.levels[codes.n_levels - 1] * codes.unit;  // of the largest level, in steps of 1
  const int most = 2 * codes.most_scale + 1;
  out.d = f32_to_f16(peak_of(values, kSuper) / (top * static_cast<float>(most)));
  const float d = f16_to_f32(out.d), per_scale = inverse_of(top * d);
  for (int g = 0; g < kSuper / codes.group; ++g) {
    const float multiple = peak_of(values + g * codes.group, codes.group) * per_scale;
    const int scale = std::clamp(static_cast<int>(std::min(0.5f * multiple, 100.0f)), 0, codes.most_scale);
    out.scales[g] = static_cast<uint8_t>(scale);
    const PlainSearch search{codes, d * (static_cast<float>(2 * scale + 1) * codes.unit)};
    for (int at = g * codes.group; at < (g + 1) * codes.group; at += codes.shared)
      codes.signs == Signs::Shifts ? search.with_shift(values, at, out) : search.with_signs(values, at, out);
  }
  return out;
}

constexpr LatticeCodes kIq2Xxs{Signs::Even, 8,        32, 8,      256,          kIq2XxsGrid,  2,
                               3,           kLevels2, 15, 0.125f, read_iq2_xxs, write_iq2_xxs};
constexpr LatticeCodes kIq2Xs{Signs::Even, 8,        16, 8,      512,         kIq2XsGrid,  2,
                              3,           kLevels2, 15, 0.125f, read_iq2_xs, write_iq2_xs};
constexpr LatticeCodes kIq2S{Signs::Free, 8,        16, 8,      1024,       kIq2SGrid,  2,
                             3,           kLevels2, 15, 0.125f, read_iq2_s, write_iq2_s};
constexpr LatticeCodes kIq3Xxs{Signs::Even, 4,           32, 8,     256,          kIq3XxsGrid,  3,
                               8,           kLevels3Xxs, 15, 0.25f, read_iq3_xxs, write_iq3_xxs};
constexpr LatticeCodes kIq3S{Signs::Free, 4, 32, 8, 512, kIq3SGrid, 3, 8, kLevels3, 15, 1.0f, read_iq3_s, write_iq3_s};
constexpr LatticeCodes kIq1S{Signs::Shifts, 8, 32,   32,         2048,       kIq1SGrid, 2, 3,
                             kTernary,      7, 1.0f, read_iq1_s, write_iq1_s};
constexpr LatticeCodes kIq1M{Signs::Shifts, 8, 16,   8,          2048,       kIq1SGrid, 2, 3,
                             kTernary,      7, 1.0f, read_iq1_m, write_iq1_m};

}  // namespace attar::blocks
