#include "quantize/grid/groups.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <vector>

#include "quantize/grid/grid.h"
#include "runtime/base/half.h"
#include "runtime/base/random.h"

namespace attar {
namespace {

std::vector<float> numbers(size_t n, uint64_t seed, double spread) {
  const CounterRandom random(seed);
  std::vector<float> out(n);
  for (size_t i = 0; i < n; ++i)
    out[i] = static_cast<float>((random.uniform(2 * i) - 0.5) * std::exp(spread * random.uniform(2 * i + 1)));
  return out;
}

// One group, value after value: what each lane must give to the bit, whatever the instruction set.
struct Sums {
  float error = 0, c = 0, cc = 0, cx = 0;
};
Sums affine_sums_reference(const float* x, const float* w, int n, float scale, float minimum, const Levels& levels) {
  Sums sums;
  const float inverse = scale != 0.0f ? 1.0f / scale : 0.0f;
  for (int j = 0; j < n; ++j) {
    const float c = levels.nearest((x[j] - minimum) * inverse), difference = scale * c + minimum - x[j];
    sums.error += w[j] * difference * difference;
    sums.c += w[j] * c;
    sums.cc += w[j] * c * c;
    sums.cx += w[j] * c * x[j];
  }
  return sums;
}

TEST(Groups, SumsAreThoseOfEachGroupAlone) {
  for (const TensorType type : {TensorType::Q4_K, TensorType::Q6_K, TensorType::Q8_0, TensorType::IQ4_NL})
    for (const int width : {16, 32})
      for (const int count : {kLanes, 5}) {
        SCOPED_TRACE(std::string(format_of(type).name) + " " + std::to_string(width) + " " + std::to_string(count));
        const Levels levels(*format_of(type).codes);
        const std::vector<float> x = numbers(static_cast<size_t>(count * width), 1, 3.0);
        std::vector<float> w = numbers(x.size(), 2, 3.0);
        for (float& weight : w) weight = std::fabs(weight) + 0.01f;
        Groups groups(width);
        groups.load(x.data(), 0, count, groups.x);
        groups.load(w.data(), 0, count, groups.w);
        Affine fit;
        Lanes inverse;
        for (int l = 0; l < kLanes; ++l) {
          fit.scale[l] = l == 3 ? 0.0f : 0.02f * static_cast<float>(l - 7);
          fit.minimum[l] = -0.1f * static_cast<float>(l);
          inverse[l] = 1.0f / (0.03f * static_cast<float>(l + 1));
        }
        AffineSums affine;
        ScaleSums scale;
        affine_sums(groups, fit, levels, affine);
        scale_sums(groups, inverse, levels, scale);
        for (int l = 0; l < count; ++l) {
          const float *values = x.data() + l * width, *weights = w.data() + l * width;
          const Sums expected = affine_sums_reference(values, weights, width, fit.scale[l], fit.minimum[l], levels);
          EXPECT_EQ(affine.error[l], expected.error) << l;
          EXPECT_EQ(affine.c[l], expected.c) << l;
          EXPECT_EQ(affine.cc[l], expected.cc) << l;
          EXPECT_EQ(affine.cx[l], expected.cx) << l;
          float cc = 0, cx = 0;
          for (int j = 0; j < width; ++j) {
            const float c = levels.nearest(values[j] * inverse[l]);
            cc += weights[j] * c * c, cx += weights[j] * c * values[j];
          }
          EXPECT_EQ(scale.cc[l], cc) << l;
          EXPECT_EQ(scale.cx[l], cx) << l;
        }
      }
}

TEST(Groups, RoundToF16AsOneByOne) {
  const CounterRandom random(3);
  for (uint64_t i = 0; i < 200000; i += kLanes) {
    Lanes values, rounded;
    for (int l = 0; l < kLanes; ++l) {
      const auto bits = static_cast<uint32_t>(random.bits(i + static_cast<uint64_t>(l)));
      std::memcpy(&values[l], &bits, 4);
      if (std::isnan(values[l])) values[l] = 65519.996f;  // the largest that is not rounded to infinity
    }
    round_to_f16(values, rounded);
    for (int l = 0; l < kLanes; ++l) {
      const float expected = f16_to_f32(f32_to_f16(values[l]));
      EXPECT_EQ(std::memcmp(&rounded[l], &expected, 4), 0) << values[l];
    }
  }
}

// Blocks are searched sixteen groups at a time, across rows: each as if it were alone.
TEST(Groups, RowsTogetherAreRowsAlone) {
  constexpr size_t kRows = 5;
  for (const QuantFormat& format : quant_formats()) {
    if (!has_grid(format)) continue;
    const auto columns = static_cast<size_t>(3 * format.block_size);
    const std::vector<float> rows = numbers(kRows * columns, 4, 2.0);
    std::vector<float> weights = numbers(columns, 5, 3.0);
    for (float& weight : weights) weight = std::fabs(weight) + 0.01f;
    std::vector<std::byte> alone;
    for (size_t r = 0; r < kRows; ++r) {
      const Grid grid = fit_grid(format, std::span(rows).subspan(r * columns, columns), weights);
      alone.insert(alone.end(), grid.blocks.begin(), grid.blocks.end());
    }
    EXPECT_EQ(fit_grid(format, rows, weights).blocks, alone) << format.name;
  }
}

}  // namespace
}  // namespace attar
