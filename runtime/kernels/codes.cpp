#include "runtime/kernels/codes.h"

#include <bit>
#include <cstring>

#include "runtime/base/half.h"

namespace attar::runtime {
namespace {

constexpr int8_t kIq4Table[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};
constexpr int8_t kFp4Table[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

float half_at(const uint8_t* p) {
  uint16_t h;
  std::memcpy(&h, p, 2);
  return f16_to_f32(h);
}

void set_scale(CodeBlock* out, float scale, float minimum = 0.0f) {
  out->scale[0] = out->scale[1] = scale;
  out->minimum[0] = out->minimum[1] = minimum;
}

// Column j is the low nibble of byte j, column j + 16 the high one.
void read_nibbles(const uint8_t* qs, int subtract, CodeBlock* out) {
  for (int j = 0; j < 16; ++j) {
    out->codes[j] = static_cast<int8_t>((qs[j] & 15) - subtract);
    out->codes[j + 16] = static_cast<int8_t>((qs[j] >> 4) - subtract);
  }
}

void read_table(const uint8_t* qs, const int8_t* table, CodeBlock* out) {
  for (int j = 0; j < 16; ++j) {
    out->codes[j] = table[qs[j] & 15];
    out->codes[j + 16] = table[qs[j] >> 4];
  }
}

void read_five(const uint8_t* qh, const uint8_t* qs, int subtract, CodeBlock* out) {
  uint32_t high;
  std::memcpy(&high, qh, 4);
  for (int j = 0; j < 16; ++j) {
    out->codes[j] = static_cast<int8_t>(((qs[j] & 15) | ((high >> j) & 1) << 4) - subtract);
    out->codes[j + 16] = static_cast<int8_t>(((qs[j] >> 4) | ((high >> (j + 16)) & 1) << 4) - subtract);
  }
}

void read_q4_0(const uint8_t* row, int64_t block, CodeBlock* out) {
  const uint8_t* p = row + block * 18;
  set_scale(out, half_at(p));
  read_nibbles(p + 2, 8, out);
}

void read_q4_1(const uint8_t* row, int64_t block, CodeBlock* out) {
  const uint8_t* p = row + block * 20;
  set_scale(out, half_at(p), half_at(p + 2));
  read_nibbles(p + 4, 0, out);
}

void read_q5_0(const uint8_t* row, int64_t block, CodeBlock* out) {
  const uint8_t* p = row + block * 22;
  set_scale(out, half_at(p));
  read_five(p + 2, p + 6, 16, out);
}

void read_q5_1(const uint8_t* row, int64_t block, CodeBlock* out) {
  const uint8_t* p = row + block * 24;
  set_scale(out, half_at(p), half_at(p + 2));
  read_five(p + 4, p + 8, 0, out);
}

void read_q8_0(const uint8_t* row, int64_t block, CodeBlock* out) {
  const uint8_t* p = row + block * 34;
  set_scale(out, half_at(p));
  std::memcpy(out->codes, p + 2, kBlock);
}

void read_iq4_nl(const uint8_t* row, int64_t block, CodeBlock* out) {
  const uint8_t* p = row + block * 18;
  set_scale(out, half_at(p));
  read_table(p + 2, kIq4Table, out);
}

void read_iq4_xs(const uint8_t* row, int64_t block, CodeBlock* out) {
  const uint8_t* p = row + block / 8 * 136;
  const int i = static_cast<int>(block % 8);
  const int high = p[2] | p[3] << 8;
  const int scale = ((p[4 + i / 2] >> (4 * (i & 1))) & 15) | ((high >> (2 * i)) & 3) << 4;
  set_scale(out, half_at(p) * static_cast<float>(scale - 32));
  read_table(p + 8 + 16 * i, kIq4Table, out);
}

void read_mxfp4(const uint8_t* row, int64_t block, CodeBlock* out) {
  const uint8_t* p = row + block * 17;
  const uint32_t e = p[0];
  set_scale(out, std::bit_cast<float>(e < 2 ? 0x00200000u << e : (e - 1) << 23));
  read_table(p + 1, kFp4Table, out);
}

float ue4m3(uint8_t bits) {
  if (bits == 0 || bits == 0x7f) return 0.0f;
  const int exponent = (bits >> 3) & 15, mantissa = bits & 7;
  if (exponent == 0) return static_cast<float>(mantissa) * 0x1p-9f;
  return std::bit_cast<float>(static_cast<uint32_t>(exponent - 7 + 127) << 23) *
         (1.0f + static_cast<float>(mantissa) / 8.0f);
}

void read_nvfp4(const uint8_t* row, int64_t block, CodeBlock* out) {
  const uint8_t* p = row + block / 2 * 36;
  set_scale(out, 0.0f);
  for (int h = 0; h < 2; ++h) {
    const int group = static_cast<int>(block % 2) * 2 + h;
    out->scale[h] = ue4m3(p[group]) * 0.5f;
    for (int j = 0; j < 8; ++j) {
      const uint8_t q = p[4 + 8 * group + j];
      out->codes[16 * h + j] = kFp4Table[q & 15];
      out->codes[16 * h + j + 8] = kFp4Table[q >> 4];
    }
  }
}

// Six-bit scale and minimum of group i of a Q4_K or Q5_K block.
void set_k_scale(const uint8_t* p, int i, CodeBlock* out) {
  const uint8_t* s = p + 4;
  const int scale = i < 4 ? s[i] & 63 : (s[i + 4] & 15) | (s[i - 4] >> 6) << 4;
  const int minimum = i < 4 ? s[i + 4] & 63 : (s[i + 4] >> 4) | (s[i] >> 6) << 4;
  set_scale(out, half_at(p) * static_cast<float>(scale), -(half_at(p + 2) * static_cast<float>(minimum)));
}

void read_q4_k(const uint8_t* row, int64_t block, CodeBlock* out) {
  const uint8_t* p = row + block / 8 * 144;
  const int i = static_cast<int>(block % 8);
  set_k_scale(p, i, out);
  for (int l = 0; l < kBlock; ++l) out->codes[l] = static_cast<int8_t>((p[16 + i / 2 * 32 + l] >> (4 * (i & 1))) & 15);
}

void read_q5_k(const uint8_t* row, int64_t block, CodeBlock* out) {
  const uint8_t* p = row + block / 8 * 176;
  const int i = static_cast<int>(block % 8);
  set_k_scale(p, i, out);
  for (int l = 0; l < kBlock; ++l) {
    const int low = (p[48 + i / 2 * 32 + l] >> (4 * (i & 1))) & 15;
    out->codes[l] = static_cast<int8_t>(low | ((p[16 + l] >> i) & 1) << 4);
  }
}

void read_q6_k(const uint8_t* row, int64_t block, CodeBlock* out) {
  const uint8_t* p = row + block / 8 * 210;
  const int i = static_cast<int>(block % 8), half = i / 4, j = i % 4;
  const uint8_t* low = p + 64 * half + 32 * (j & 1);
  const uint8_t* high = p + 128 + 32 * half;
  for (int l = 0; l < kBlock; ++l)
    out->codes[l] = static_cast<int8_t>((((low[l] >> (4 * (j >> 1))) & 15) | ((high[l] >> (2 * j)) & 3) << 4) - 32);
  set_scale(out, 0.0f);
  for (int h = 0; h < 2; ++h)
    out->scale[h] = half_at(p + 208) * static_cast<float>(static_cast<int8_t>(p[192 + 2 * i + h]));
}

void read_q3_k(const uint8_t* row, int64_t block, CodeBlock* out) {
  const uint8_t* p = row + block / 8 * 110;
  const int i = static_cast<int>(block % 8);
  const uint8_t* qs = p + 32 + 32 * (i / 4);
  for (int l = 0; l < kBlock; ++l)
    out->codes[l] = static_cast<int8_t>(((qs[l] >> (2 * (i % 4))) & 3) - ((p[l] >> i) & 1 ? 0 : 4));
  const uint8_t* s = p + 96;
  set_scale(out, 0.0f);
  for (int h = 0; h < 2; ++h) {
    const int j = 2 * i + h;
    const int scale = (j < 8 ? s[j] & 15 : s[j - 8] >> 4) | ((s[8 + (j & 3)] >> (2 * (j >> 2))) & 3) << 4;
    out->scale[h] = half_at(p + 108) * static_cast<float>(scale - 32);
  }
}

void read_q2_k(const uint8_t* row, int64_t block, CodeBlock* out) {
  const uint8_t* p = row + block / 8 * 84;
  const int i = static_cast<int>(block % 8);
  const uint8_t* qs = p + 16 + 32 * (i / 4);
  for (int l = 0; l < kBlock; ++l) out->codes[l] = static_cast<int8_t>((qs[l] >> (2 * (i % 4))) & 3);
  for (int h = 0; h < 2; ++h) {
    const uint8_t s = p[2 * i + h];
    out->scale[h] = half_at(p + 80) * static_cast<float>(s & 15);
    out->minimum[h] = -(half_at(p + 82) * static_cast<float>(s >> 4));
  }
}

void read_tq2_0(const uint8_t* row, int64_t block, CodeBlock* out) {
  const uint8_t* p = row + block / 8 * 66;
  const int i = static_cast<int>(block % 8);
  set_scale(out, half_at(p + 64));
  for (int l = 0; l < kBlock; ++l)
    out->codes[l] = static_cast<int8_t>(((p[32 * (i / 4) + l] >> (2 * (i % 4))) & 3) - 1);
}

void read_q2_0(const uint8_t* row, int64_t block, CodeBlock* out) {
  const uint8_t* p = row + block / 2 * 18;
  set_scale(out, half_at(p));
  for (int l = 0; l < kBlock; ++l) {
    const int e = static_cast<int>(block % 2) * 32 + l;
    out->codes[l] = static_cast<int8_t>(((p[2 + e / 4] >> (2 * (e % 4))) & 3) - 1);
  }
}

void read_q1_0(const uint8_t* row, int64_t block, CodeBlock* out) {
  const uint8_t* p = row + block / 4 * 18;
  set_scale(out, half_at(p));
  for (int l = 0; l < kBlock; ++l) {
    const int e = static_cast<int>(block % 4) * 32 + l;
    out->codes[l] = static_cast<int8_t>((p[2 + e / 8] >> (e % 8)) & 1 ? 1 : -1);
  }
}

constexpr CodeFormat kFormats[] = {
    {TensorType::Q4_0, TileFormat::U4, nullptr, read_q4_0},
    {TensorType::Q4_1, TileFormat::U4Min, nullptr, read_q4_1},
    {TensorType::Q4_K, TileFormat::U4Min32, nullptr, read_q4_k},
    {TensorType::IQ4_NL, TileFormat::Table4, kIq4Table, read_iq4_nl},
    {TensorType::IQ4_XS, TileFormat::Table4_32, kIq4Table, read_iq4_xs},
    {TensorType::MXFP4, TileFormat::Table4_32, kFp4Table, read_mxfp4},
    {TensorType::Q5_0, TileFormat::U5, nullptr, read_q5_0},
    {TensorType::Q5_1, TileFormat::U5Min, nullptr, read_q5_1},
    {TensorType::Q5_K, TileFormat::U5Min32, nullptr, read_q5_k},
    {TensorType::Q8_0, TileFormat::I8, nullptr, read_q8_0},
    {TensorType::TQ2_0, TileFormat::I8_32, nullptr, read_tq2_0},
    {TensorType::Q2_0, TileFormat::I8_32, nullptr, read_q2_0},
    {TensorType::Q1_0, TileFormat::I8_32, nullptr, read_q1_0},
    {TensorType::Q6_K, TileFormat::I8Half, nullptr, read_q6_k},
    {TensorType::Q3_K, TileFormat::I8Half, nullptr, read_q3_k},
    {TensorType::NVFP4, TileFormat::I8Half, nullptr, read_nvfp4},
    {TensorType::Q2_K, TileFormat::I8HalfMin, nullptr, read_q2_k},
};

}  // namespace

const CodeFormat* find_code_format(TensorType type) {
  for (const CodeFormat& format : kFormats)
    if (format.type == type) return &format;
  return nullptr;
}

}  // namespace attar::runtime
