// Super-blocks of 256 values of two and three bits, and of a table.
//   Q2_K  scales[16] qs[64] d dmin          16 groups of 16: d (sc & 15) q - dmin (sc >> 4)
//   Q3_K  hmask[32] qs[64] scales[12] d     16 groups of 16: d (sc - 32) (q - (hbit ? 0 : 4))
//   IQ4_XS d scales_h scales_l[4] qs[128]    8 groups of 32: d (ls - 32) table[q]
#include "runtime/formats/blocks/blocks.h"

namespace attar::blocks {
namespace {

// The group of 32 that part i of consecutive super-blocks is.
int group_of(int64_t i) {
  return static_cast<int>(i % 8);
}

void read_q2_k(const std::byte* blocks, int64_t i, CodeBlock* out) {
  const std::byte* block = blocks + i / 8 * 84;
  const int group = group_of(i);
  for (int l = 0; l < 32; ++l) out->codes[l] = static_cast<int8_t>(two_bits(block + 16, group, l));
  for (int h = 0; h < 2; ++h) {
    const int both = byte_at(block, 2 * group + h);
    out->scale[h] = half_at(block, 80) * static_cast<float>(both & 15);
    out->minimum[h] = -(half_at(block, 82) * static_cast<float>(both >> 4));
  }
}
void write_q2_k(const int8_t* codes, std::byte* block) {
  put_two_bits(codes, 0, block + 16);
}
void read_scales_q2_k(const std::byte* block, BlockScales* out) {
  out->d = u16_at(block, 80), out->dmin = u16_at(block, 82);
  for (int g = 0; g < 16; ++g) {
    out->scales[g] = static_cast<int8_t>(byte_at(block, g) & 15);
    out->minimums[g] = static_cast<int8_t>(byte_at(block, g) >> 4);
  }
}
void write_scales_q2_k(const BlockScales& scales, std::byte* block) {
  for (int g = 0; g < 16; ++g) block[g] = static_cast<std::byte>(scales.scales[g] | (scales.minimums[g] << 4));
  put_u16(block, 80, scales.d);
  put_u16(block, 82, scales.dmin);
}

int q3_scale(const std::byte* s, int j) {
  const int low = j < 8 ? byte_at(s, j) & 15 : byte_at(s, j - 8) >> 4;
  const int high = (byte_at(s, 8 + (j & 3)) >> (2 * (j >> 2))) & 3;
  return (low | (high << 4)) - 32;
}

void read_q3_k(const std::byte* blocks, int64_t i, CodeBlock* out) {
  const std::byte* block = blocks + i / 8 * 110;
  const int group = group_of(i);
  for (int l = 0; l < 32; ++l)
    out->codes[l] = static_cast<int8_t>(two_bits(block + 32, group, l) - ((byte_at(block, l) >> group) & 1 ? 0 : 4));
  set_scale(out, 0.0f);
  for (int h = 0; h < 2; ++h)
    out->scale[h] = half_at(block, 108) * static_cast<float>(q3_scale(block + 96, 2 * group + h));
}
void write_q3_k(const int8_t* codes, std::byte* block) {
  for (int l = 0; l < 32; ++l) {
    int high = 0;
    for (int group = 0; group < 8; ++group) high |= (codes[32 * group + l] >= 0 ? 1 : 0) << group;
    block[l] = static_cast<std::byte>(high);
  }
  put_two_bits(codes, 4, block + 32);
}
void read_scales_q3_k(const std::byte* block, BlockScales* out) {
  out->d = u16_at(block, 108);
  for (int g = 0; g < 16; ++g) out->scales[g] = static_cast<int8_t>(q3_scale(block + 96, g));
}
void write_scales_q3_k(const BlockScales& scales, std::byte* block) {
  uint8_t packed[12] = {};
  for (int j = 0; j < 16; ++j) {
    const int scale = scales.scales[j] + 32;
    packed[j % 8] = static_cast<uint8_t>(packed[j % 8] | ((scale & 15) << (j < 8 ? 0 : 4)));
    packed[8 + j % 4] = static_cast<uint8_t>(packed[8 + j % 4] | ((scale >> 4) << (2 * (j / 4))));
  }
  std::memcpy(block + 96, packed, 12);
  put_u16(block, 108, scales.d);
}

int iq4_scale(const std::byte* block, int group) {
  const int low = (byte_at(block, 4 + group / 2) >> (4 * (group % 2))) & 15;
  const int high = (u16_at(block, 2) >> (2 * group)) & 3;
  return (low | (high << 4)) - 32;
}

void read_iq4_xs(const std::byte* blocks, int64_t i, CodeBlock* out) {
  const std::byte* block = blocks + i / 8 * 136;
  const int group = group_of(i);
  set_scale(out, half_at(block, 0) * static_cast<float>(iq4_scale(block, group)));
  read_table(block + 8 + 16 * group, kIq4Values, out);
}
void write_iq4_xs(const int8_t* codes, std::byte* block) {
  for (int group = 0; group < 8; ++group) put_table(codes + 32 * group, kIq4Index, 16, block + 8 + 16 * group);
}
void read_scales_iq4_xs(const std::byte* block, BlockScales* out) {
  out->d = u16_at(block, 0);
  for (int group = 0; group < 8; ++group) out->scales[group] = static_cast<int8_t>(iq4_scale(block, group));
}
void write_scales_iq4_xs(const BlockScales& scales, std::byte* block) {
  int high = 0, low[4] = {};
  for (int group = 0; group < 8; ++group) {
    const int scale = scales.scales[group] + 32;
    low[group / 2] |= (scale & 15) << (4 * (group % 2));
    high |= (scale >> 4) << (2 * group);
  }
  put_u16(block, 0, scales.d);
  put_u16(block, 2, static_cast<uint16_t>(high));
  for (int i = 0; i < 4; ++i) block[4 + i] = static_cast<std::byte>(low[i]);
}

constexpr SuperShape kShapeQ2{16, 0, 3, 0.0f, 15.0f}, kShapeQ3{16, -4, 3, -32.0f, 31.0f},
    kShapeIq4{32, -127, 113, -32.0f, 31.0f, kIq4Values};

}  // namespace

constexpr BlockCodes kQ2K{0, 3, nullptr, read_q2_k, read_scales_q2_k, write_q2_k, write_scales_q2_k};
constexpr BlockCodes kQ3K{-4, 3, nullptr, read_q3_k, read_scales_q3_k, write_q3_k, write_scales_q3_k};
constexpr BlockCodes kIq4Xs{-127, 113, kIq4Values, read_iq4_xs, read_scales_iq4_xs, write_iq4_xs, write_scales_iq4_xs};

void encode_q2_k(const float* values, int64_t n, std::byte* block) {
  encode_codes<kQ2K, 256, 84>(values, n, block,
                              [](const float* x, int8_t* codes) { return fit_affine(x, kShapeQ2, codes); });
}
void encode_q3_k(const float* values, int64_t n, std::byte* block) {
  encode_codes<kQ3K, 256, 110>(values, n, block,
                               [](const float* x, int8_t* codes) { return fit_symmetric(x, kShapeQ3, codes); });
}
void encode_iq4_xs(const float* values, int64_t n, std::byte* block) {
  encode_codes<kIq4Xs, 256, 136>(values, n, block,
                                 [](const float* x, int8_t* codes) { return fit_symmetric(x, kShapeIq4, codes); });
}

}  // namespace attar::blocks
