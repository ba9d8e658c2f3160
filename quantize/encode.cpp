#include "quantize/encode.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "quantize/block_search.h"
#include "runtime/formats/blocks/blocks.h"

namespace attar {
namespace {

using namespace blocks;

// One block of 32 with a symmetric grid: Q4_0, Q5_0, Q8_0, IQ4_NL.
void encode_symmetric(const BlockCodes& layout, const float* x, const float* w, std::byte* block) {
  const Grid grid{static_cast<float>(layout.least), static_cast<float>(layout.most), layout.table != nullptr};
  const uint16_t bits = f32_to_f16(symmetric_scale(x, w, 32, grid, layout.most == 127 ? 2 : 9));
  const float scale = f16_to_f32(bits);
  float levels[32];
  assign_levels(x, 32, scale != 0.0f ? 1.0f / scale : 0.0f, grid, levels);
  int8_t codes[32];
  for (int j = 0; j < 32; ++j) codes[j] = static_cast<int8_t>(levels[j]);
  layout.write_scales({.d = bits}, block);
  layout.write_codes(codes, block);
}

// One block of 32 with scale and minimum: Q4_1, Q5_1.
void encode_affine(const BlockCodes& layout, const float* x, const float* w, std::byte* block) {
  const Affine fit = affine_fit(x, w, layout.most + 1, Minimum::Any);
  const uint16_t d = f32_to_f16(fit.scale), m = f32_to_f16(fit.minimum);
  const float scale = f16_to_f32(d), minimum = f16_to_f32(m);
  int8_t codes[32];
  for (int j = 0; j < 32; ++j)
    codes[j] = scale == 0.0f ? int8_t{0}
                             : static_cast<int8_t>(std::clamp(std::nearbyint((x[j] - minimum) / scale), 0.0f,
                                                              static_cast<float>(layout.most)));
  layout.write_scales({.d = d, .dmin = m}, block);
  layout.write_codes(codes, block);
}

// The searched encoding of one block; false where a type has none beyond the plain one.
bool search_block(TensorType type, const float* x, const float* w, std::byte* block) {
  switch (type) {
    case TensorType::Q4_0:
    case TensorType::Q5_0:
    case TensorType::Q8_0:
    case TensorType::IQ4_NL:
      encode_symmetric(*format_of(type).codes, x, w, block);
      return true;
    case TensorType::Q4_1:
    case TensorType::Q5_1:
      encode_affine(*format_of(type).codes, x, w, block);
      return true;
    case TensorType::Q4_K:
      search_q4_k(x, w, block);
      return true;
    case TensorType::Q5_K:
      search_q5_k(x, w, block);
      return true;
    case TensorType::Q6_K:
      search_q6_k(x, w, block);
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
