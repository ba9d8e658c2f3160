#include "quantize/grid/encode.h"

#include <gtest/gtest.h>

#include <cmath>
#include <span>
#include <vector>

#include "runtime/base/random.h"
#include "runtime/formats/blocks/blocks.h"
#include "tests/quantize/normal_row.h"

namespace attar {
namespace {

double error_of(const QuantFormat& format, const std::vector<float>& row, const std::vector<float>& weights,
                const std::vector<std::byte>& bytes) {
  std::vector<float> back(row.size());
  format.decode(bytes.data(), static_cast<int64_t>(row.size()) / format.block_size, back.data());
  double error = 0.0;
  for (size_t i = 0; i < row.size(); ++i)
    error += static_cast<double>(weights[i]) * std::pow(static_cast<double>(back[i] - row[i]), 2);
  return error;
}

// The least error that any of the scales leaves of values whose codes stand for `levels`.
double least_error_reference(std::span<const float> x, std::span<const float> w, const std::vector<float>& levels,
                             const std::vector<float>& scales) {
  double least = HUGE_VAL;
  for (const float scale : scales) {
    double error = 0.0;
    for (size_t j = 0; j < x.size() && error < least; ++j) {
      double nearest = HUGE_VAL;
      for (const float level : levels)
        nearest = std::min(nearest, std::fabs(static_cast<double>(scale * level - x[j])));
      error += static_cast<double>(w[j]) * nearest * nearest;
    }
    least = std::min(least, error);
  }
  return least;
}

std::vector<float> all_halves() {
  std::vector<float> scales;
  for (uint32_t bits = 0; bits < 0x10000; ++bits)
    if (const float scale = f16_to_f32(static_cast<uint16_t>(bits)); std::isfinite(scale)) scales.push_back(scale);
  return scales;
}

std::vector<float> whole_levels(int low, int high) {
  std::vector<float> levels;
  for (int level = low; level <= high; ++level) levels.push_back(static_cast<float>(level));
  return levels;
}

std::vector<float> squares(size_t n, uint64_t seed) {
  std::vector<float> weights = normal_row(n, seed);
  for (float& w : weights) w = w * w + 1e-3f;
  return weights;
}

// ggml's own searches are compared with in tests/oracle/encode_error_test.py.
TEST(EncodeRows, IsNearTheBestOfAllScales) {
  const std::vector<float> table(std::begin(blocks::kIq4Values), std::end(blocks::kIq4Values)), scales = all_halves();
  for (const auto& [type, levels] :
       {std::pair(TensorType::Q4_0, whole_levels(-8, 7)), std::pair(TensorType::Q5_0, whole_levels(-16, 15)),
        std::pair(TensorType::IQ4_NL, table), std::pair(TensorType::Q2_0, whole_levels(-1, 2)),
        std::pair(TensorType::TQ2_0, whole_levels(-1, 1)), std::pair(TensorType::Q1_0, std::vector{-1.0f, 1.0f})}) {
    const QuantFormat& format = format_of(type);
    const auto n = static_cast<size_t>(format.block_size);
    std::vector<std::byte> bytes(static_cast<size_t>(format.block_bytes));
    double found = 0.0, least = 0.0;
    for (uint64_t seed = 0; seed < 6; ++seed) {
      const std::vector<float> row = normal_row(n, seed), weights = squares(n, seed + 100);
      const double best = least_error_reference(row, weights, levels, scales);
      const double own = encode_rows(format, row, weights, bytes).error;
      EXPECT_GE(own, best * (1 - 1e-5)) << format.name;
      EXPECT_LE(own, 1.05 * best) << format.name << " " << seed;
      found += own, least += best;
    }
    EXPECT_LE(found, 1.01 * least) << format.name;
  }
}

// Of scales that are one byte all that could be best are tried.
TEST(EncodeRows, IsTheBestOfAllBytes) {
  const std::vector<float> levels(std::begin(blocks::kE2m1), std::end(blocks::kE2m1));
  std::vector<float> exponents, small_floats;
  for (int byte = 2; byte < 255; ++byte) exponents.push_back(blocks::e8m0_half(byte));
  for (int byte = 0; byte < 127; ++byte) small_floats.push_back(blocks::ue4m3_half(byte));
  for (const auto& [type, width, scales] :
       {std::tuple(TensorType::MXFP4, size_t{32}, exponents), std::tuple(TensorType::NVFP4, size_t{16}, small_floats)})
    for (uint64_t seed = 0; seed < 40; ++seed) {
      std::vector<float> row = normal_row(64, seed);
      for (float& x : row) x *= std::exp(0.3f * static_cast<float>(seed) - 8.0f) * std::fabs(x);
      const std::vector<float> weights = squares(64, seed + 100);
      std::vector<std::byte> bytes(static_cast<size_t>(format_of(type).row_bytes(64)));
      double best = 0.0;
      for (size_t at = 0; at < 64; at += width)
        best += least_error_reference(std::span(row).subspan(at, width), std::span(weights).subspan(at, width), levels,
                                      scales);
      EXPECT_NEAR(encode_rows(format_of(type), row, weights, bytes).error, best, 1e-5 * best)
          << format_of(type).name << " " << seed;
    }
}

// Groups whose scales are `largest`, one less, ... steps and whose codes are whole have no error on that grid. A
// thousandth of what four bits lose: as many steps are tried for the largest, and the others follow.
TEST(EncodeRows, FindsTheGridThatTheValuesAreOn) {
  const CounterRandom random(5);
  for (const auto& [type, width, largest] :
       {std::tuple(TensorType::Q4_K, 32, 60), std::tuple(TensorType::Q5_K, 32, 60),
        std::tuple(TensorType::Q6_K, 16, 60), std::tuple(TensorType::Q3_K, 16, 32),
        std::tuple(TensorType::IQ4_XS, 32, 31), std::tuple(TensorType::Q2_K, 16, 15)}) {
    const QuantFormat& format = format_of(type);
    const BlockCodes& codes = *format.codes;
    std::vector<float> row(256);
    for (int i = 0; i < 256; ++i) {
      const auto drawn = static_cast<int>(random.below(
          static_cast<uint64_t>(i), codes.table ? 16 : static_cast<uint64_t>(codes.most - codes.least + 1)));
      const int code = codes.table ? codes.table[drawn] : codes.least + drawn;
      row[static_cast<size_t>(i)] = 0.25f * static_cast<float>((largest - i / width) * code);
    }
    std::vector<std::byte> bytes(static_cast<size_t>(format.block_bytes));
    double energy = 0.0;
    for (const float v : row) energy += static_cast<double>(v) * static_cast<double>(v);
    EXPECT_LE(encode_rows(format, row, {}, bytes).error, 1e-5 * energy) << format.name;
  }
}

TEST(EncodeRows, IsNeverWorseThanThePlainEncoderAndSaysItsError) {
  for (const QuantFormat& format : quant_formats()) {
    if (!format.written) continue;
    for (uint64_t seed = 0; seed < 8; ++seed) {
      const std::vector<float> row = normal_row(512, seed);
      const std::vector<float> weights = squares(512, seed + 100);
      const auto size = static_cast<size_t>(format.row_bytes(512));
      std::vector<std::byte> plain(size), searched(size);
      format.encode(row.data(), 512 / format.block_size, plain.data());
      const double said = encode_rows(format, row, weights, searched).error;
      const double own = error_of(format, row, weights, searched), before = error_of(format, row, weights, plain);
      EXPECT_LE(own, before * (1 + 1e-6)) << format.name;
      EXPECT_NEAR(said, own, 1e-6 * (1e-12 + own)) << format.name;
    }
  }
}

// Weighted search on IQ4_NL is well below the plain encoder, and more bits mean less error.
TEST(EncodeRows, GainsAndIsMonotoneInBits) {
  const std::vector<float> row = normal_row(4096, 1), ones(4096, 1.0f);
  const auto searched = [&](TensorType type) {
    const QuantFormat& format = format_of(type);
    std::vector<std::byte> bytes(static_cast<size_t>(format.row_bytes(4096)));
    return encode_rows(format, row, ones, bytes).error;
  };
  const QuantFormat& iq4 = format_of(TensorType::IQ4_NL);
  std::vector<std::byte> plain(static_cast<size_t>(iq4.row_bytes(4096)));
  iq4.encode(row.data(), 4096 / 32, plain.data());
  EXPECT_LT(searched(TensorType::IQ4_NL), 0.9 * error_of(iq4, row, ones, plain));
  EXPECT_LT(searched(TensorType::IQ4_NL), searched(TensorType::Q4_0));
  EXPECT_LT(searched(TensorType::TQ1_0), searched(TensorType::Q1_0));
  EXPECT_LT(searched(TensorType::Q2_0), searched(TensorType::TQ2_0));
  EXPECT_LT(searched(TensorType::Q2_K), searched(TensorType::Q2_0));
  EXPECT_LT(searched(TensorType::Q3_K), searched(TensorType::Q2_K));
  EXPECT_LT(searched(TensorType::IQ4_XS), searched(TensorType::Q3_K));
  EXPECT_LT(searched(TensorType::NVFP4), searched(TensorType::MXFP4));
  EXPECT_LT(searched(TensorType::Q5_K), searched(TensorType::Q4_K));
  EXPECT_LT(searched(TensorType::Q6_K), searched(TensorType::Q5_K));
  EXPECT_LT(searched(TensorType::Q8_0), searched(TensorType::Q6_K));
}

TEST(EncodeRows, ZeroAndConstantRows) {
  for (const QuantFormat& format : quant_formats()) {
    if (!format.written) continue;
    std::vector<std::byte> bytes(static_cast<size_t>(format.row_bytes(256)));
    EXPECT_NEAR(encode_rows(format, std::vector<float>(256, 0.0f), {}, bytes).error, 0.0, 1e-12) << format.name;
    EXPECT_LT(encode_rows(format, std::vector<float>(256, 0.5f), {}, bytes).error, 256 * 1e-3) << format.name;
  }
}

}  // namespace
}  // namespace attar
