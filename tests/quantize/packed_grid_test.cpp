#include "quantize/grid/packed_grid.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <string>
#include <vector>

#include "quantize/grid/block_steps.h"
#include "quantize/grid/encode.h"
#include "runtime/base/half.h"
#include "runtime/base/random.h"

namespace attar {
namespace {

constexpr size_t kValues = 1024;

std::vector<float> normal_values(uint64_t seed, float deviation) {
  const CounterRandom random(seed);
  std::vector<float> out(kValues);
  for (size_t i = 0; i < kValues; ++i)
    for (uint64_t k = 0; k < 12; ++k) out[i] += deviation * static_cast<float>(random.uniform(12 * i + k) - 0.5);
  return out;
}

std::vector<std::byte> encoded(const QuantFormat& format, const std::vector<float>& values) {
  std::vector<std::byte> bytes(static_cast<size_t>(format.row_bytes(kValues)));
  encode_rows(format, values, {}, bytes);
  return bytes;
}

std::vector<float> decoded(const QuantFormat& format, const std::vector<std::byte>& bytes) {
  std::vector<float> values(kValues);
  format.decode(bytes.data(), static_cast<int64_t>(kValues) / format.block_size, values.data());
  return values;
}

std::vector<uint32_t> bits_of(const std::vector<float>& values) {
  std::vector<uint32_t> bits;
  for (const float value : values) bits.push_back(std::bit_cast<uint32_t>(value));
  return bits;
}

// A grid, the codes of values that differ from those it was encoded from, and what is trained.
struct Trained {
  const QuantFormat& format;
  std::vector<float> original;
  std::vector<std::byte> bytes;
  PackedGrid grid;
  PackedGrid::Blocks all;
  std::vector<float> latents, d, dmin;

  explicit Trained(const QuantFormat& f)
      : format(f),
        original(normal_values(1, 0.1f)),
        bytes(encoded(f, original)),
        grid(f, bytes),
        all{0, grid.n_blocks()},
        latents(kValues),
        d(grid.start_d()),
        dmin(grid.start_dmin()) {
    grid.start_latents(all, original.data(), latents.data());
  }
  BlockSteps steps() const { return {d, dmin}; }
  std::vector<float> values() const {
    std::vector<float> out(kValues);
    grid.values(all, steps(), latents.data(), out.data());
    return out;
  }
};

template <class Check>
void for_each_grid(const Check& check) {
  int types = 0;
  for (const QuantFormat& format : quant_formats()) {
    if (!has_grid(format)) continue;
    SCOPED_TRACE(format.name);
    check(Trained(format));
    ++types;
  }
  EXPECT_GE(types, 9);
}

TEST(PackedGrid, ACellIsWhatLiesBetweenNeighbours) {
  for (const auto& [type, gap] :
       {std::pair(TensorType::Q4_0, 1.0), std::pair(TensorType::IQ4_NL, 16.0), std::pair(TensorType::Q1_0, 2.0)}) {
    const QuantFormat& format = format_of(type);
    std::vector<std::byte> bytes = encoded(format, normal_values(1, 0.1f));
    for (size_t block = 0; block < bytes.size(); block += static_cast<size_t>(format.block_bytes))
      put_half(bytes.data() + block, *step_places(format).d, block % 4 == 0 ? 0.5f : -0.25f);
    double sum = 0.0;
    for (size_t block = 0; block < bytes.size(); block += static_cast<size_t>(format.block_bytes))
      sum += block % 4 == 0 ? 0.5 : 0.25;
    const double n = static_cast<double>(bytes.size()) / static_cast<double>(format.block_bytes);
    EXPECT_DOUBLE_EQ(PackedGrid(format, bytes).mean_cell(), gap * sum / n) << format.name;
  }
}

TEST(PackedGrid, StartsAsTheBytesThatItIsGiven) {
  for_each_grid([](const Trained& trained) {
    EXPECT_EQ(bits_of(trained.values()), bits_of(decoded(trained.format, trained.bytes)));
    std::vector<std::byte> packed(trained.bytes.size());
    trained.grid.pack(trained.all, trained.steps(), trained.latents.data(), packed);
    EXPECT_EQ(packed, trained.bytes);
  });
}

// The codes are those of error feedback, say: not the nearest ones. A latent is as near to its weight as its cell
// allows.
TEST(PackedGrid, LatentsStartInTheCellsOfTheCodesThatWereChosen) {
  for_each_grid([](const Trained& trained) {
    const std::vector<float> other = normal_values(2, 0.1f), chosen = decoded(trained.format, trained.bytes);
    std::vector<float> latents(kValues), values(kValues);
    trained.grid.start_latents(trained.all, other.data(), latents.data());
    trained.grid.values(trained.all, trained.steps(), latents.data(), values.data());
    EXPECT_EQ(bits_of(values), bits_of(chosen));
    size_t own = 0;
    for (size_t i = 0; i < kValues; ++i) {
      EXPECT_LE(std::fabs(latents[i] - other[i]), std::fabs(chosen[i] - other[i]) + 1e-6f) << i;
      own += trained.latents[i] == trained.original[i];
    }
    EXPECT_GT(own, kValues / 4);  // what is inside stays where it is
  });
}

TEST(PackedGrid, PackedBytesDecodeToWhatWasTrained) {
  for_each_grid([](Trained trained) {
    const std::vector<float> moves = normal_values(3, 0.03f);
    for (size_t i = 0; i < kValues; ++i) trained.latents[i] += moves[i];
    for (size_t b = 0; b < trained.d.size(); ++b) trained.d[b] *= 1.0f + moves[b];
    for (size_t b = 0; b < trained.dmin.size(); ++b) trained.dmin[b] *= 1.0f - moves[b];
    std::vector<std::byte> packed(trained.bytes.size());
    const int64_t half = trained.all.count / 2;  // in two parts, as threads do it
    const auto bytes = static_cast<size_t>(half * trained.format.block_bytes);
    const auto d = static_cast<size_t>(half), values = d * static_cast<size_t>(trained.format.block_size);
    const auto part = [](const std::vector<float>& of, size_t begin, size_t count) {
      return of.empty() ? std::span<const float>() : std::span<const float>(of).subspan(begin, count);
    };
    trained.grid.pack({0, half}, {part(trained.d, 0, d), part(trained.dmin, 0, d)}, trained.latents.data(),
                      std::span(packed).first(bytes));
    trained.grid.pack({half, half}, {part(trained.d, d, d), part(trained.dmin, d, d)}, trained.latents.data() + values,
                      std::span(packed).subspan(bytes));
    EXPECT_NE(packed, trained.bytes);
    EXPECT_EQ(bits_of(decoded(trained.format, packed)), bits_of(trained.values()));
  });
}

// Most types keep d as F16, and those with minimums dmin. Four-bit floats have bytes for scales: they learn their codes
// alone.
TEST(PackedGrid, FindsTheBlockScales) {
  for_each_grid([](const Trained& trained) {
    const TensorType type = trained.format.type;
    if (type == TensorType::MXFP4 || type == TensorType::NVFP4) {
      EXPECT_TRUE(trained.d.empty());
      return;
    }
    ASSERT_EQ(trained.d.size(), static_cast<size_t>(trained.all.count));
    const bool minimums = trained.format.codes->least == 0;
    EXPECT_EQ(trained.dmin.size(), minimums ? trained.d.size() : 0u);
    for (const float d : trained.d) {
      EXPECT_GT(std::fabs(d), 0.01f);  // about as large as the weights
      EXPECT_LT(std::fabs(d), 1.0f);
    }
  });
}

// Loss: sum of c_i * value_i. Values are linear in d and dmin until those are rounded to F16, so the
// difference to twice as much, which F16 holds too, is exact but for the sum.
TEST(PackedGrid, GradientOfTheScalesIsThatOfDifferences) {
  for_each_grid([](Trained trained) {
    const std::vector<float> weights = normal_values(4, 1.0f);
    for (size_t i = 0; i < kValues; i += 50) trained.latents[i] += i % 100 == 0 ? 1.0f : -1.0f;  // beyond the last code
    const auto loss = [&] {
      const std::vector<float> values = trained.values();
      double sum = 0.0;
      for (size_t i = 0; i < kValues; ++i) sum += static_cast<double>(weights[i]) * static_cast<double>(values[i]);
      return sum;
    };
    std::vector<float> gradient = weights, by_d(trained.d.size()), by_dmin(trained.dmin.size());
    trained.grid.pull_back(trained.all, trained.latents.data(), gradient.data(), by_d, by_dmin);
    for (auto* one : {&trained.d, &trained.dmin})
      for (size_t b = 0; b < one->size(); ++b) {
        const float kept = (*one)[b];
        (*one)[b] = 2.0f * kept;
        const double up = loss();
        (*one)[b] = kept;
        const double slope = (up - loss()) / static_cast<double>(kept);
        const double own = static_cast<double>((one == &trained.d ? by_d : by_dmin)[b]);
        ASSERT_NE(kept, 0.0f);
        EXPECT_NEAR(own, slope, 1e-4 * (1.0 + std::fabs(slope))) << b;
      }
  });
}

TEST(PackedGrid, GradientGoesStraightThroughWhereALatentIsInRange) {
  for_each_grid([](Trained trained) {
    std::vector<float> gradient(kValues, 1.0f);
    const float far = 10.0f;
    trained.latents[3] = far, trained.latents[4] = -far;    // a step down brings the first back, takes the second away
    trained.latents[40] = far, trained.latents[41] = -far;  // and a step up the other way around
    gradient[40] = gradient[41] = -1.0f;
    const std::vector<float> given = gradient;
    trained.grid.pull_back(trained.all, trained.latents.data(), gradient.data(), {}, {});
    EXPECT_EQ(gradient[3], 1.0f);
    EXPECT_EQ(gradient[4], 0.0f);
    EXPECT_EQ(gradient[40], 0.0f);
    EXPECT_EQ(gradient[41], -1.0f);
    for (size_t i = 0; i < kValues; ++i) EXPECT_EQ(gradient[i], i == 4 || i == 40 ? 0.0f : given[i]) << i;
  });
}

}  // namespace
}  // namespace attar
