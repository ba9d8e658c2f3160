#include "quantize/grid/lattice.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <string>
#include <vector>

#include "quantize/grid/encode.h"
#include "runtime/base/random.h"
#include "runtime/formats/blocks/blocks.h"
#include "tests/quantize/normal_row.h"

namespace attar {
namespace {

constexpr TensorType kTypes[] = {TensorType::IQ3_S,   TensorType::IQ3_XXS, TensorType::IQ2_S, TensorType::IQ2_XS,
                                 TensorType::IQ2_XXS, TensorType::IQ1_M,   TensorType::IQ1_S};

std::vector<std::byte> bytes_of(const QuantFormat& format, const std::vector<LatticeBlock>& blocks) {
  std::vector<std::byte> bytes(blocks.size() * static_cast<size_t>(format.block_bytes));
  write_lattice(format, blocks, bytes);
  return bytes;
}

std::vector<float> decoded(const QuantFormat& format, const std::vector<std::byte>& bytes) {
  const auto n = static_cast<int64_t>(bytes.size()) / format.block_bytes;
  std::vector<float> values(static_cast<size_t>(n * format.block_size));
  format.decode(bytes.data(), n, values.data());
  return values;
}

double share_lost(const QuantFormat& format, const std::vector<float>& row, const std::vector<float>& weights) {
  std::vector<std::byte> bytes(static_cast<size_t>(format.row_bytes(static_cast<int64_t>(row.size()))));
  const EncodeLoss loss = encode_rows(format, row, weights, bytes);
  return loss.error / loss.energy;
}

// What a block says, weight by weight.
float value_of(const LatticeCodes& codes, const LatticeBlock& block, int i) {
  const float step = lattice_step(codes, block, i / codes.group);
  const float level = codes.levels[codes.place(block.points[i / codes.values], i % codes.values)];
  if (codes.signs == LatticeCodes::Signs::Shifts)
    return step * (level + ((block.signs[i / 8] & 1) != 0 ? -0.125f : 0.125f));
  return ((block.signs[i / 8] >> (i % 8)) & 1) != 0 ? -(step * level) : step * level;
}

// Every field drawn anew: what is written is what is read.
TEST(Lattice, BytesDecodeToWhatABlockSays) {
  for (const TensorType type : kTypes) {
    const QuantFormat& format = format_of(type);
    const LatticeCodes& codes = *format.lattice;
    const CounterRandom random(3);
    uint64_t drawn = 0;
    const auto below = [&](int n) { return static_cast<int>(random.below(++drawn, static_cast<uint64_t>(n))); };
    for (int repeat = 0; repeat < 50; ++repeat) {
      LatticeBlock block;
      block.d = static_cast<uint16_t>(below(0x7c00));
      for (int g = 0; g < 256 / codes.group; ++g) block.scales[g] = static_cast<uint8_t>(below(codes.most_scale + 1));
      for (int p = 0; p < 256 / codes.values; ++p) block.points[p] = static_cast<uint16_t>(below(codes.n_points));
      for (int i = 0; i < 32; ++i) {
        unsigned minuses = static_cast<unsigned>(below(256));
        if (codes.signs == LatticeCodes::Signs::Even) minuses ^= static_cast<unsigned>(std::popcount(minuses) % 2) << 7;
        if (codes.signs == LatticeCodes::Signs::Shifts) minuses &= 1;
        block.signs[i] = i % (codes.shared / 8) != 0 ? block.signs[i - 1] : static_cast<uint8_t>(minuses);
      }
      const std::vector<float> values = decoded(format, bytes_of(format, {block}));
      for (int i = 0; i < 256; ++i)
        ASSERT_EQ(std::bit_cast<uint32_t>(values[static_cast<size_t>(i)]),
                  std::bit_cast<uint32_t>(value_of(codes, block, i)))
            << format.name << " " << i;
    }
  }
}

TEST(Lattice, RowsTogetherAreRowsAlone) {
  for (const TensorType type : kTypes) {
    const QuantFormat& format = format_of(type);
    const std::vector<float> rows = normal_row(5 * 768, 2), spread = normal_row(768, 3);
    std::vector<float> weights;
    for (const float value : spread) weights.push_back(std::exp(value));
    std::vector<std::byte> alone;
    for (size_t r = 0; r < 5; ++r) {
      const std::vector<std::byte> one =
          bytes_of(format, fit_lattice_blocks(format, std::span(rows).subspan(r * 768, 768), weights));
      alone.insert(alone.end(), one.begin(), one.end());
    }
    EXPECT_EQ(bytes_of(format, fit_lattice_blocks(format, rows, weights)), alone) << format.name;
  }
}

// More bits lose less; beside the whole-number type of about as many bits, too.
TEST(Lattice, LosesLessWithMoreBits) {
  const std::vector<float> row = normal_row(4096, 1), weights(4096, 1.0f);
  for (size_t t = 1; t < std::size(kTypes); ++t)
    EXPECT_LT(share_lost(format_of(kTypes[t - 1]), row, weights), 0.9 * share_lost(format_of(kTypes[t]), row, weights))
        << format_of(kTypes[t]).name;
  EXPECT_LT(share_lost(format_of(TensorType::IQ3_S), row, weights),
            0.9 * share_lost(format_of(TensorType::Q3_K), row, weights));
}

TEST(Lattice, WeightsCount) {
  const std::vector<float> row = normal_row(2048, 5);
  std::vector<float> weights;
  for (const float value : normal_row(2048, 6)) weights.push_back(std::exp(2.0f * value));
  for (const TensorType type : kTypes) {
    const QuantFormat& format = format_of(type);
    const std::vector<float> values = decoded(format, bytes_of(format, fit_lattice_blocks(format, row, {})));
    double without = 0.0, energy = 0.0;
    for (size_t i = 0; i < row.size(); ++i) {
      const auto w = static_cast<double>(weights[i]);
      without += w * std::pow(static_cast<double>(values[i] - row[i]), 2);
      energy += w * static_cast<double>(row[i]) * static_cast<double>(row[i]);
    }
    EXPECT_LT(share_lost(format, row, weights), 0.95 * without / energy) << format.name;
  }
}

// Values on a type's own grid come back but for what the nearest grids beside it leave.
TEST(Lattice, FindsTheGridThatTheValuesAreOn) {
  for (const TensorType type : kTypes) {
    const QuantFormat& format = format_of(type);
    const std::vector<float> row = normal_row(2048, 8), ones(2048, 1.0f);
    const std::vector<float> on_grid = decoded(format, bytes_of(format, fit_lattice_blocks(format, row, {})));
    EXPECT_LT(share_lost(format, on_grid, ones), 0.1 * share_lost(format, row, ones)) << format.name;
  }
}

// Zero, constant, one loud value, tiny ones, and what no number is: bytes come of all, and nothing is read past its
// end.
TEST(Lattice, DegenerateBlocks) {
  std::vector<float> loud = normal_row(256, 4);
  loud[77] = 1000.0f;
  std::vector<float> nan(256, std::nanf("")), huge(256, 3e38f), one(256, 0.0f);
  nan[3] = 1.0f, one[200] = -2.0f;
  for (const TensorType type : kTypes) {
    const QuantFormat& format = format_of(type);
    const auto back = [&](const std::vector<float>& row) {
      return decoded(format, bytes_of(format, fit_lattice_blocks(format, row, {})));
    };
    for (const float value : back(std::vector<float>(256, 0.0f))) EXPECT_EQ(value, 0.0f) << format.name;
    EXPECT_LT(share_lost(format, std::vector<float>(256, -0.5f), std::vector<float>(256, 1.0f)), 0.05) << format.name;
    // No point has one large value among zeros.
    EXPECT_LT(share_lost(format, loud, std::vector<float>(256, 1.0f)), 0.55) << format.name;
    EXPECT_LT(share_lost(format, one, std::vector<float>(256, 1.0f)), 0.55) << format.name;
    for (const float value : back(std::vector<float>(256, 1e-9f))) EXPECT_EQ(value, 0.0f) << format.name;
    back(nan), back(huge);
    EXPECT_FALSE(std::isfinite(share_lost(format, std::vector<float>(256, 1e9f), std::vector<float>(256, 1.0f))))
        << format.name;  // which is what quantize refuses a tensor by
  }
}

}  // namespace
}  // namespace attar
