// Super-blocks of 256 values out of codebooks of 8 or 4 values with signs (IQ2, IQ3) or of ternary values (IQ1).
//   IQ2_XXS d qs[64]                    per 32: 4 grid bytes, then u32: 4 x 7 sign bits, scale s on top; d (.5 + s) / 4
//   IQ2_XS  d qs[64] scales[8]          u16: grid q & 511, signs q >> 9; nibble s per 16
//   IQ2_S   d qs[32] signs[32] qh[8] scales[8]
//   IQ3_XXS d qs[64] u32[8]             4 values a grid byte; u32 as IQ2_XXS; d (.5 + s) / 2
//   IQ3_S   d qs[64] qh[8] signs[32] scales[4]      ninth index bit in qh; d (1 + 2 s)
//   IQ1_S   d qs[32] qh[8 x u16]        d (2 s + 1) (grid +- 1/8)
//   IQ1_M   qs[32] qh[16] scales[4 x u16]           fp16 d in the four top nibbles
// A 7-bit sign index holds the signs of values 0-6; value 7's sign makes the number of minuses even.
#include <bit>

#include "runtime/formats/blocks/blocks.h"
#include "runtime/formats/blocks/lattice_grids.h"

namespace attar::blocks {
namespace {

uint8_t with_parity(uint32_t seven_bits) {
  return static_cast<uint8_t>(seven_bits | (static_cast<uint32_t>(std::popcount(seven_bits) & 1) << 7));
}

void read_nibbles(const std::byte* bytes, int n, uint8_t* out) {
  for (int i = 0; i < n; ++i) out[i] = static_cast<uint8_t>((byte_at(bytes, i / 2) >> (4 * (i % 2))) & 15);
}

// Seven signs of each of 32 weights' four eights, and their scale on top.
void read_signs_and_scale(uint32_t word, int group, LatticeBlock* out) {
  out->scales[group] = static_cast<uint8_t>(word >> 28);
  for (int l = 0; l < 4; ++l) out->signs[4 * group + l] = with_parity((word >> (7 * l)) & 127);
}

}  // namespace

void read_iq2_xxs(const std::byte* block, LatticeBlock* out) {
  out->d = u16_at(block, 0);
  for (int group = 0; group < 8; ++group) {
    for (int l = 0; l < 4; ++l) out->points[4 * group + l] = byte_at(block, 2 + 8 * group + l);
    read_signs_and_scale(u32_at(block, 2 + 8 * group + 4), group, out);
  }
}

void read_iq2_xs(const std::byte* block, LatticeBlock* out) {
  out->d = u16_at(block, 0);
  for (int i = 0; i < 32; ++i) {
    const uint16_t code = u16_at(block, 2 + 2 * i);
    out->points[i] = code & 511;
    out->signs[i] = with_parity(code >> 9);
  }
  read_nibbles(block + 66, 16, out->scales);
}

void read_iq2_s(const std::byte* block, LatticeBlock* out) {
  out->d = u16_at(block, 0);
  for (int i = 0; i < 32; ++i) {
    const int high = (byte_at(block, 66 + i / 4) << (8 - 2 * (i % 4))) & 0x300;
    out->points[i] = static_cast<uint16_t>(byte_at(block, 2 + i) | high);
    out->signs[i] = byte_at(block, 34 + i);
  }
  read_nibbles(block + 74, 16, out->scales);
}

void read_iq3_xxs(const std::byte* block, LatticeBlock* out) {
  out->d = u16_at(block, 0);
  for (int i = 0; i < 64; ++i) out->points[i] = byte_at(block, 2 + i);
  for (int group = 0; group < 8; ++group) read_signs_and_scale(u32_at(block, 66 + 4 * group), group, out);
}

void read_iq3_s(const std::byte* block, LatticeBlock* out) {
  out->d = u16_at(block, 0);
  for (int i = 0; i < 64; ++i) {
    const int high = ((byte_at(block, 66 + i / 8) >> (i % 8)) & 1) << 8;
    out->points[i] = static_cast<uint16_t>(byte_at(block, 2 + i) | high);
  }
  for (int i = 0; i < 32; ++i) out->signs[i] = byte_at(block, 74 + i);
  read_nibbles(block + 106, 8, out->scales);
}

void read_iq1_s(const std::byte* block, LatticeBlock* out) {
  out->d = u16_at(block, 0);
  for (int i = 0; i < 32; ++i) {
    const int high = u16_at(block, 34 + 2 * (i / 4));
    out->scales[i / 4] = (high >> 12) & 7;
    out->points[i] = static_cast<uint16_t>(byte_at(block, 2 + i) | (((high >> (3 * (i % 4))) & 7) << 8));
    out->signs[i] = static_cast<uint8_t>(high >> 15);
  }
}

void read_iq1_m(const std::byte* block, LatticeBlock* out) {
  out->d = 0;
  for (int i = 0; i < 4; ++i) out->d = static_cast<uint16_t>(out->d | ((u16_at(block, 48 + 2 * i) >> 12) << (4 * i)));
  for (int i = 0; i < 32; ++i) {
    const int high = byte_at(block, 32 + i / 2) >> (4 * (i % 2));
    out->scales[i / 2] = (u16_at(block, 48 + 2 * (i / 8)) >> (3 * (i / 2 % 4))) & 7;
    out->points[i] = static_cast<uint16_t>(byte_at(block, i) | ((high & 7) << 8));
    out->signs[i] = (high >> 3) & 1;
  }
}

// A level is summed with its shift first, as the reference does, then scaled.
void decode_points(const LatticeCodes& codes, const std::byte* bytes, float* out) {
  LatticeBlock block;
  codes.read(bytes, &block);
  const float d = f16_to_f32(block.d);
  for (int i = 0; i < 256; ++i) {
    const float step = d * static_cast<float>(2 * block.scales[i / codes.group] + 1) * codes.unit;
    const float level = codes.levels[codes.place(block.points[i / codes.values], i % codes.values)];
    const int signs = block.signs[i / 8];
    if (codes.signs == LatticeCodes::Signs::Shifts)
      out[i] = step * (level + ((signs & 1) != 0 ? -kShift : kShift));
    else
      out[i] = ((signs >> (i % 8)) & 1) != 0 ? -(step * level) : step * level;
  }
}

}  // namespace attar::blocks
