#include "quantize/grid/grid.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <string>
#include <vector>

#include "quantize/grid/encode.h"
#include "runtime/base/random.h"

namespace attar {
namespace {

constexpr size_t kColumns = 512;

struct Case {
  std::string name;
  std::vector<float> row;
};

// Rows (512) that are easy, hard and degenerate.
std::vector<Case> rows() {
  const CounterRandom random(7);
  std::vector<float> normal(kColumns);
  for (size_t i = 0; i < kColumns; ++i)
    for (uint64_t k = 0; k < 12; ++k) normal[i] += static_cast<float>(random.uniform(12 * i + k) - 0.5);
  std::vector<Case> cases = {{"normal", normal}};
  const auto add = [&](const char* name, auto&& change) {
    std::vector<float> row = normal;
    for (size_t i = 0; i < kColumns; ++i) row[i] = change(i, normal[i]);
    cases.push_back({name, row});
  };
  add("zero", [](size_t, float) { return 0.0f; });
  add("constant", [](size_t, float) { return -0.5f; });
  add("positive", [](size_t, float x) { return std::fabs(x); });
  add("sparse", [](size_t i, float x) { return i % 16 == 0 ? x : 0.0f; });
  add("peaks", [](size_t i, float x) { return i % 32 == 0 ? 1000.0f * x : x; });
  add("groups", [](size_t i, float x) { return x * std::exp(static_cast<float>(i / 32 % 8) - 4.0f); });
  add("subnormal scales", [](size_t, float x) { return 1e-6f * x; });
  add("large", [](size_t, float x) { return 1e4f * x; });
  add("steps", [](size_t, float x) { return std::round(3.0f * x) / 3.0f; });
  return cases;
}

std::vector<float> weights() {
  const CounterRandom random(8);
  std::vector<float> out(kColumns);
  for (size_t i = 0; i < kColumns; ++i) out[i] = static_cast<float>(std::exp(4.0 * random.uniform(i) - 2.0));
  return out;
}

struct Packed {
  std::vector<int8_t> codes;
  std::vector<float> values;
  std::vector<std::byte> bytes;
};
Packed rounded_and_packed(const Grid& grid, const std::vector<float>& row) {
  Packed out{std::vector<int8_t>(row.size()), std::vector<float>(row.size()),
             std::vector<std::byte>(grid.blocks.size())};
  for (size_t j = 0; j < row.size(); ++j) {
    const Rounded rounded = round_at(grid, static_cast<int64_t>(j), row[j]);
    out.codes[j] = rounded.code, out.values[j] = rounded.value;
  }
  pack(grid, out.codes, out.bytes);
  return out;
}

std::vector<uint32_t> bits_of(const std::vector<float>& values) {
  std::vector<uint32_t> bits;
  for (const float value : values) bits.push_back(std::bit_cast<uint32_t>(value));
  return bits;
}

// For every type that has a grid, every row, with weights and without.
template <class Check>
void for_each_grid(const Check& check) {
  int types = 0;
  for (const QuantFormat& format : quant_formats()) {
    if (!has_grid(format)) continue;
    ++types;
    for (const Case& given : rows())
      for (const std::vector<float>& w : {weights(), std::vector<float>()}) {
        SCOPED_TRACE(std::string(format.name) + ", " + given.name);
        check(fit_grid(format, given.row, w), given.row, w);
      }
  }
  EXPECT_EQ(types, 18);
}

TEST(Grid, RoundsToWhatThePackedBytesDecodeTo) {
  for_each_grid([](const Grid& grid, const std::vector<float>& row, const std::vector<float>&) {
    const Packed packed = rounded_and_packed(grid, row);
    std::vector<float> decoded(row.size());
    grid.format->decode(packed.bytes.data(), static_cast<int64_t>(row.size()) / grid.format->block_size,
                        decoded.data());
    EXPECT_EQ(bits_of(decoded), bits_of(packed.values));
  });
}

TEST(Grid, EncodingIsRoundingEveryColumn) {
  for_each_grid([](const Grid& grid, const std::vector<float>& row, const std::vector<float>& w) {
    std::vector<std::byte> encoded(grid.blocks.size());
    encode_rows(*grid.format, row, w, encoded);
    EXPECT_EQ(encoded, rounded_and_packed(grid, row).bytes);
  });
}

TEST(Grid, NoOtherCodeIsNearer) {
  for_each_grid([](const Grid& grid, const std::vector<float>& row, const std::vector<float>&) {
    const BlockCodes& codes = *grid.format->codes;
    for (size_t j = 0; j < row.size(); ++j) {
      const Grid::Step& step = grid.steps[j / 16];
      const float own = std::fabs(round_at(grid, static_cast<int64_t>(j), row[j]).value - row[j]);
      for (int code = codes.least; code <= codes.most; ++code) {
        if (codes.table != nullptr && std::find(codes.table, codes.table + 16, code) == codes.table + 16) continue;
        const float other = std::fabs(step.scale * static_cast<float>(code) + step.minimum - row[j]);
        ASSERT_LE(own, other + 1e-6f * std::fabs(row[j]) + 1e-6f * std::fabs(step.scale)) << j << " " << code;
      }
    }
  });
}

// What error feedback starts from: the scales of a row that anybody encoded, and its codes again.
TEST(Grid, OfEncodedRowsPacksTheSameBytes) {
  for_each_grid([](const Grid& grid, const std::vector<float>& row, const std::vector<float>&) {
    const Packed packed = rounded_and_packed(grid, row);
    const Grid again = grid_of(*grid.format, packed.bytes);
    EXPECT_EQ(rounded_and_packed(again, packed.values).values, packed.values);
    std::vector<std::byte> bytes(packed.bytes.size());
    pack(again, packed.codes, bytes);
    EXPECT_EQ(bytes, packed.bytes);
  });
}

}  // namespace
}  // namespace attar
