// Weighted search of block scales. For a grid of levels l and weights w, the best scale of fixed codes is
// sum(w x l) / sum(w l^2), and the error it leaves is sum(w x^2) - sum(w x l)^2 / sum(w l^2): so a candidate scale only
// has to give codes, and least squares does the rest. Affine grids solve the 2 x 2 system for scale and minimum.
// Source: reference "quantization", section 2.1; the K layouts as in runtime/formats/blocks/blocks_k.cpp.
#include "quantize/encode.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "runtime/base/fast_math.h"
#include "runtime/formats/blocks/blocks.h"

namespace attar {
namespace {

using namespace blocks;

constexpr int kMaxGroup = 32;
constexpr int kRefinements = 4;

// Levels that codes stand for: whole numbers from low to high, or the table of IQ4_NL.
struct Grid {
  float low, high;
  bool table;
};

// Level of each x * inverse. n is 16 or 32.
ATTAR_VECTOR_CLONES void assign(const float* x, int n, float inverse, const Grid& grid, float* levels) {
  if (!grid.table) {
    for (int j = 0; j < n; ++j)
      levels[j] = std::min(grid.high, std::max(grid.low, (x[j] * inverse + 12582912.0f) - 12582912.0f));
    return;
  }
  for (int j = 0; j < n; ++j) levels[j] = static_cast<float>(kIq4Values[0]);
  for (int k = 1; k < 16; ++k) {
    const float middle = 0.5f * static_cast<float>(kIq4Values[k - 1] + kIq4Values[k]),
                step = static_cast<float>(kIq4Values[k] - kIq4Values[k - 1]);
    for (int j = 0; j < n; ++j) levels[j] += x[j] * inverse > middle ? step : 0.0f;
  }
}

struct Sums {
  float xl = 0, ll = 0;  // sum(w x l), sum(w l^2)
  float gain() const { return ll > 0.0f ? xl * xl / ll : 0.0f; }
  float scale() const { return ll > 0.0f ? xl / ll : 0.0f; }
};

ATTAR_VECTOR_CLONES Sums sums_of(const float* x, const float* w, const float* levels, int n) {
  float xl[16] = {}, ll[16] = {};
  for (int i = 0; i < n; i += 16)
    for (int j = 0; j < 16; ++j) {
      const float wl = w[i + j] * levels[i + j];
      xl[j] += wl * x[i + j];
      ll[j] += wl * levels[i + j];
    }
  Sums sums;
  for (int j = 0; j < 16; ++j) sums.xl += xl[j], sums.ll += ll[j];
  return sums;
}

// The scale of a symmetric group; codes follow from it. `tries` scales on either side of the one that fits the peak.
float symmetric_scale(const float* x, const float* w, int n, const Grid& grid, int tries) {
  float peak = 0.0f;
  for (int j = 0; j < n; ++j)
    if (std::fabs(x[j]) > std::fabs(peak)) peak = x[j];
  if (peak == 0.0f) return 0.0f;
  float levels[kMaxGroup];
  float best_gain = 0.0f, best_scale = 0.0f;
  const float unit = -grid.low / 80.0f;
  for (const float end : {grid.low, grid.high})
    for (int t = -tries; t <= tries; ++t) {
      assign(x, n, (end + unit * static_cast<float>(t)) / peak, grid, levels);
      const Sums sums = sums_of(x, w, levels, n);
      if (sums.gain() > best_gain) best_gain = sums.gain(), best_scale = sums.scale();
    }
  for (int i = 0; i < kRefinements && best_scale != 0.0f; ++i) {  // codes for the scale, scale for the codes
    assign(x, n, 1.0f / best_scale, grid, levels);
    const Sums sums = sums_of(x, w, levels, n);
    if (sums.gain() <= best_gain) break;
    best_gain = sums.gain(), best_scale = sums.scale();
  }
  return best_scale;
}

struct Affine {
  float scale = 0, minimum = 0;
};

// Scale and minimum of codes 0 .. levels - 1. `positive_only`: the minimum is at most 0 (K types).
Affine affine_fit(const float* x, const float* w, int levels, bool negative_minimum) {
  const auto [low, high] = std::minmax_element(x, x + 32);
  const float least = negative_minimum ? std::min(0.0f, *low) : *low, range = *high - least;
  if (range <= 0.0f) return {0.0f, least};
  double sw = 0, swx = 0;
  for (int j = 0; j < 32; ++j)
    sw += static_cast<double>(w[j]), swx += static_cast<double>(w[j]) * static_cast<double>(x[j]);
  Affine best{range / static_cast<float>(levels - 1), least};
  double best_error = HUGE_VAL;
  for (int t = -10; t <= 10; ++t) {
    Affine fit{
        range / (static_cast<float>(levels - 1) + 0.1f * static_cast<float>(t) * static_cast<float>(levels) / 16.0f),
        least};
    for (int round = 0; round < 3; ++round) {
      double sl = 0, sll = 0, sxl = 0, error = 0;
      float codes[32];
      const float inverse = fit.scale != 0.0f ? 1.0f / fit.scale : 0.0f;
      for (int j = 0; j < 32; ++j) {
        codes[j] = std::clamp(std::nearbyint((x[j] - fit.minimum) * inverse), 0.0f, static_cast<float>(levels - 1));
        const double difference = static_cast<double>(fit.scale * codes[j] + fit.minimum - x[j]);
        error += static_cast<double>(w[j]) * difference * difference;
        sl += static_cast<double>(w[j] * codes[j]), sll += static_cast<double>(w[j] * codes[j] * codes[j]),
            sxl += static_cast<double>(w[j] * codes[j] * x[j]);
      }
      if (error < best_error) best_error = error, best = fit;
      const double determinant = sw * sll - sl * sl;
      if (determinant <= 1e-20 * sw * sll) break;
      fit.scale = static_cast<float>((sw * sxl - sl * swx) / determinant);
      fit.minimum = static_cast<float>((swx - static_cast<double>(fit.scale) * sl) / sw);
      if (negative_minimum && fit.minimum > 0.0f) fit = {static_cast<float>(sxl / std::max(sll, 1e-30)), 0.0f};
    }
  }
  return best;
}

void put_nibbles(const uint8_t* codes, std::byte* qs) {
  for (int j = 0; j < 16; ++j) qs[j] = static_cast<std::byte>((codes[j] & 15) | ((codes[j + 16] & 15) << 4));
}
void put_fifth_bits(const uint8_t* codes, std::byte* qh) {
  uint32_t bits = 0;
  for (int j = 0; j < 32; ++j) bits |= static_cast<uint32_t>((codes[j] >> 4) & 1) << j;
  for (int i = 0; i < 4; ++i) qh[i] = static_cast<std::byte>((bits >> (8 * i)) & 0xff);
}

uint8_t table_code(float level) {
  for (int k = 0; k < 16; ++k)
    if (static_cast<float>(kIq4Values[k]) == level) return static_cast<uint8_t>(k);
  return 0;
}

// One block of 32 with a symmetric grid: Q4_0, Q5_0, Q8_0, IQ4_NL.
void encode_symmetric(TensorType type, const float* x, const float* w, std::byte* block) {
  const Grid grid = type == TensorType::Q4_0   ? Grid{-8, 7, false}
                    : type == TensorType::Q5_0 ? Grid{-16, 15, false}
                    : type == TensorType::Q8_0 ? Grid{-127, 127, false}
                                               : Grid{-127, 113, true};
  const uint16_t bits = f32_to_f16(symmetric_scale(x, w, 32, grid, type == TensorType::Q8_0 ? 2 : 9));
  const float scale = f16_to_f32(bits);
  float levels[32];
  assign(x, 32, scale != 0.0f ? 1.0f / scale : 0.0f, grid, levels);
  if (scale == 0.0f) std::fill(levels, levels + 32, grid.table ? 1.0f : 0.0f);
  put_u16(block, 0, bits);
  uint8_t codes[32];
  for (int j = 0; j < 32; ++j)
    codes[j] = grid.table
                   ? table_code(levels[j])
                   : static_cast<uint8_t>(static_cast<int>(levels[j] - (type == TensorType::Q8_0 ? 0.0f : grid.low)));
  if (type == TensorType::Q8_0) return void(std::memcpy(block + 2, codes, 32));
  if (type == TensorType::Q5_0) put_fifth_bits(codes, block + 2);
  put_nibbles(codes, block + (type == TensorType::Q5_0 ? 6 : 2));
}

// One block of 32 with scale and minimum: Q4_1, Q5_1.
void encode_affine(TensorType type, const float* x, const float* w, std::byte* block) {
  const int levels = type == TensorType::Q4_1 ? 16 : 32;
  const Affine fit = affine_fit(x, w, levels, false);
  const uint16_t d = f32_to_f16(fit.scale), m = f32_to_f16(fit.minimum);
  const float scale = f16_to_f32(d), minimum = f16_to_f32(m);
  uint8_t codes[32];
  for (int j = 0; j < 32; ++j)
    codes[j] = scale == 0.0f ? 0
                             : static_cast<uint8_t>(std::clamp(std::nearbyint((x[j] - minimum) / scale), 0.0f,
                                                               static_cast<float>(levels - 1)));
  put_u16(block, 0, d);
  put_u16(block, 2, m);
  if (levels == 32) put_fifth_bits(codes, block + 4);
  put_nibbles(codes, block + (levels == 32 ? 8 : 4));
}

// Six-bit codes of eight values that are at least 0.
float six_bit_codes(const float values[8], uint8_t codes[8], uint16_t& step_bits) {
  step_bits = f32_to_f16(*std::max_element(values, values + 8) / 63.0f);
  const float step = f16_to_f32(step_bits);
  for (int j = 0; j < 8; ++j)
    codes[j] = step > 0.0f ? static_cast<uint8_t>(std::clamp(std::nearbyint(values[j] / step), 0.0f, 63.0f)) : 0;
  return step;
}

// Least squares of the super-block's two steps with all codes fixed.
void refit_steps(const float* x, const float* w, const uint8_t* codes, const uint8_t* scales, const uint8_t* minimums,
                 float& d, float& dmin) {
  double aa = 0, ab = 0, bb = 0, ax = 0, bx = 0;
  for (int i = 0; i < 256; ++i) {
    const double weight = static_cast<double>(w[i]), a = scales[i / 32] * codes[i], b = -minimums[i / 32],
                 value = static_cast<double>(x[i]);
    aa += weight * a * a, ab += weight * a * b, bb += weight * b * b, ax += weight * a * value,
        bx += weight * b * value;
  }
  const double determinant = aa * bb - ab * ab;
  if (determinant <= 1e-12 * aa * bb) return;
  const double new_d = (ax * bb - bx * ab) / determinant, new_dmin = (aa * bx - ab * ax) / determinant;
  if (new_d > 0.0 && new_dmin >= 0.0) d = static_cast<float>(new_d), dmin = static_cast<float>(new_dmin);
}

// Q4_K and Q5_K.
void encode_affine_super(TensorType type, const float* x, const float* w, std::byte* block) {
  const int levels = type == TensorType::Q4_K ? 16 : 32;
  float scales[8], minimums[8];
  for (int g = 0; g < 8; ++g) {
    const Affine fit = affine_fit(x + 32 * g, w + 32 * g, levels, true);
    scales[g] = std::max(0.0f, fit.scale), minimums[g] = std::max(0.0f, -fit.minimum);
  }
  uint8_t scale_codes[8], minimum_codes[8], codes[256];
  uint16_t d_bits = 0, dmin_bits = 0;
  float d = six_bit_codes(scales, scale_codes, d_bits), dmin = six_bit_codes(minimums, minimum_codes, dmin_bits);
  for (int round = 0; round < 2; ++round) {
    for (int i = 0; i < 256; ++i) {
      const float step = d * static_cast<float>(scale_codes[i / 32]),
                  low = dmin * static_cast<float>(minimum_codes[i / 32]);
      codes[i] = step > 0.0f ? static_cast<uint8_t>(std::clamp(std::nearbyint((x[i] + low) / step), 0.0f,
                                                               static_cast<float>(levels - 1)))
                             : 0;
    }
    if (round == 1) break;
    refit_steps(x, w, codes, scale_codes, minimum_codes, d, dmin);
    d_bits = f32_to_f16(d), dmin_bits = f32_to_f16(dmin);
    d = f16_to_f32(d_bits), dmin = f16_to_f32(dmin_bits);
  }
  put_u16(block, 0, d_bits);
  put_u16(block, 2, dmin_bits);
  pack_scales_mins(scale_codes, minimum_codes, block + 4);
  std::byte* qs = block + 16;
  if (levels == 32) {
    for (int l = 0; l < 32; ++l) {
      int high = 0;
      for (int g = 0; g < 8; ++g) high |= (codes[32 * g + l] >> 4) << g;
      block[16 + l] = static_cast<std::byte>(high);
    }
    qs = block + 48;
  }
  for (int half = 0; half < 4; ++half)
    for (int l = 0; l < 32; ++l)
      qs[32 * half + l] = static_cast<std::byte>((codes[64 * half + l] & 15) | ((codes[64 * half + 32 + l] & 15) << 4));
}

void encode_q6_k_weighted(const float* x, const float* w, std::byte* block) {
  static constexpr Grid kGrid{-32, 31, false};
  float scales[16], most = 0.0f;
  for (int g = 0; g < 16; ++g) {
    scales[g] = symmetric_scale(x + 16 * g, w + 16 * g, 16, kGrid, 5);
    if (std::fabs(scales[g]) > std::fabs(most)) most = scales[g];
  }
  const uint16_t d_bits = f32_to_f16(most / -128.0f);
  const float d = f16_to_f32(d_bits);
  uint8_t codes[256];
  for (int g = 0; g < 16; ++g) {
    const float code = d == 0.0f ? 0.0f : std::clamp(std::nearbyint(scales[g] / d), -128.0f, 127.0f);
    block[192 + g] = static_cast<std::byte>(static_cast<int8_t>(code));
    const float step = d * code;
    for (int l = 0; l < 16; ++l)
      codes[16 * g + l] = static_cast<uint8_t>(
          (step == 0.0f ? 0.0f : std::clamp(std::nearbyint(x[16 * g + l] / step), -32.0f, 31.0f)) + 32.0f);
  }
  for (int half = 0; half < 2; ++half) {
    const uint8_t* c = codes + 128 * half;
    for (int l = 0; l < 64; ++l) block[64 * half + l] = static_cast<std::byte>((c[l] & 15) | ((c[l + 64] & 15) << 4));
    for (int l = 0; l < 32; ++l)
      block[128 + 32 * half + l] = static_cast<std::byte>((c[l] >> 4) | ((c[l + 32] >> 4) << 2) |
                                                          ((c[l + 64] >> 4) << 4) | ((c[l + 96] >> 4) << 6));
  }
  put_u16(block, 208, d_bits);
}

// The searched encoding of one block; false where a type has none beyond the plain one.
bool search_block(TensorType type, const float* x, const float* w, std::byte* block) {
  switch (type) {
    case TensorType::Q4_0:
    case TensorType::Q5_0:
    case TensorType::Q8_0:
    case TensorType::IQ4_NL:
      encode_symmetric(type, x, w, block);
      return true;
    case TensorType::Q4_1:
    case TensorType::Q5_1:
      encode_affine(type, x, w, block);
      return true;
    case TensorType::Q4_K:
    case TensorType::Q5_K:
      encode_affine_super(type, x, w, block);
      return true;
    case TensorType::Q6_K:
      encode_q6_k_weighted(x, w, block);
      return true;
    default:
      return false;
  }
}

double weighted_error(const QuantFormat& format, const std::byte* block, const float* x, const float* w) {
  float values[256];
  format.decode(block, 1, values);
  double error = 0.0;
  for (int64_t j = 0; j < format.block_size; ++j) {
    const double difference = static_cast<double>(values[j]) - static_cast<double>(x[j]);
    error += static_cast<double>(w[j]) * difference * difference;
  }
  return error;
}

}  // namespace

double encode_row(const QuantFormat& format, std::span<const float> row, std::span<const float> weights,
                  std::span<std::byte> out) {
  const auto n_blocks = static_cast<int64_t>(row.size()) / format.block_size;
  format.encode(row.data(), n_blocks, out.data());
  double total = 0.0;
  std::vector<float> ones;
  if (weights.empty()) ones.assign(static_cast<size_t>(format.block_size), 1.0f);
  std::byte searched[256];
  for (int64_t b = 0; b < n_blocks; ++b) {
    const float* x = row.data() + b * format.block_size;
    const float* w = weights.empty() ? ones.data() : weights.data() + b * format.block_size;
    std::byte* block = out.data() + b * format.block_bytes;
    double error = weighted_error(format, block, x, w);
    if (search_block(format.type, x, w, searched)) {  // the plain encoding stays where it is as good
      const double own = weighted_error(format, searched, x, w);
      if (own < error) std::memcpy(block, searched, static_cast<size_t>(format.block_bytes)), error = own;
    }
    total += error;
  }
  return total;
}

}  // namespace attar
