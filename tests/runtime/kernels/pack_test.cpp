// The tiles that every type packs into against its decoder.
#include "runtime/kernels/pack.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <span>
#include <vector>

#include "runtime/base/error.h"
#include "runtime/base/random.h"
#include "runtime/model/model.h"
#include "tests/runtime/kernels/kernel_tables.h"
#include "tests/runtime/tiny_model.h"

namespace attar::runtime {
namespace {

std::vector<float> decoded(TensorType type, const std::vector<std::byte>& bytes) {
  const QuantFormat& format = format_of(type);
  const auto n_blocks = static_cast<int64_t>(bytes.size()) / format.block_bytes;
  std::vector<float> values(static_cast<size_t>(n_blocks * format.block_size));
  format.decode(bytes.data(), n_blocks, values.data());
  return values;
}

// One-hot activations read single weights back out of the tiles: 127 * (1 / 127) is 1 to a rounding.
TEST(Pack, TilesHoldTheWeights) {
  ThreadPool pool(2);
  int formats = 0;
  for (const QuantFormat& format : quant_formats()) {
    bool decoded_values = false;
    const TileFormat tile = tile_format_for(format.type, Numerics::Deployed, &decoded_values);
    if (decoded_values || kTileTraits[static_cast<int>(tile)].codes.kind == CodeKind::Plain) continue;
    ++formats;
    const int64_t rows = 19, columns = 256;
    const std::vector<std::byte> bytes = random_blocks(format.type, rows * columns, 18);
    const std::vector<float> expected = decoded(format.type, bytes);
    std::vector<int64_t> backwards;
    for (int64_t r = 0; r < rows; ++r) backwards.push_back(rows - 1 - r);
    const Matrix m = pack({format.type, {rows, columns}, bytes}, "w", Numerics::Deployed, backwards, pool);
    ASSERT_TRUE(m.quantized());
    EXPECT_EQ(m.padded_rows(), 32);
    for (const int64_t column : {0, 1, 15, 16, 31, 32, 100, 255}) {
      std::vector<float> x(static_cast<size_t>(columns), 0.0f), y(32);
      x[static_cast<size_t>(column)] = 1.0f;
      std::vector<int8_t> q(static_cast<size_t>(columns));
      std::vector<BlockInfo> info(static_cast<size_t>(columns / kBlock));
      for (const Kernels* own : all_kernels()) {
        const Kernels& k = *own;
        k.quantize(x.data(), columns, q.data(), info.data());
        k.gemv(m.tiles, 0, 2, q.data(), info.data(), {y.data(), 32, false});
        for (int64_t r = 0; r < 32; ++r) {
          const float weight = r < rows ? expected[static_cast<size_t>((rows - 1 - r) * columns + column)] : 0.0f;
          EXPECT_NEAR(y[static_cast<size_t>(r)], weight, 1e-6) << format.name << " row " << r << " column " << column;
        }
      }
    }
  }
  EXPECT_EQ(formats, 25);
}

// What an embedding is looked up in: the tiles of every type, in both modes.
TEST(Pack, RowsComeBackExactly) {
  ThreadPool pool(2);
  int formats = 0;
  for (const QuantFormat& format : quant_formats()) {
    if (!format.holds_weights() || format.type == TensorType::F64) continue;
    ++formats;
    const int64_t rows = 19, columns = format.block_size == 1 ? 44 : std::max<int64_t>(64, format.block_size);
    const std::vector<std::byte> bytes = random_blocks(format.type, rows * columns, 19);
    const std::vector<float> expected = decoded(format.type, bytes);
    for (const Numerics numerics : {Numerics::Fp32, Numerics::Deployed}) {
      const Matrix m = pack({format.type, {rows, columns}, bytes}, "w", numerics, {}, pool);
      for (int64_t row = 0; row < rows; ++row) {
        std::vector<float> values(static_cast<size_t>(columns));
        unpack_row(m, row, values.data());
        const auto begin = expected.begin() + row * columns;
        EXPECT_EQ(values, std::vector<float>(begin, begin + columns)) << format.name << " row " << row;
      }
    }
  }
  EXPECT_GE(formats, 25);
}

// Any bytes: refused exactly when a weight that they stand for is not finite, whatever the tiles.
TEST(Pack, RefusesWhatIsNotFinite) {
  ThreadPool pool(1);
  for (const QuantFormat& format : quant_formats()) {
    if (!format.holds_weights() || format.type == TensorType::F64) continue;
    const int64_t columns = format.block_size;
    const auto refused = [&](const std::vector<std::byte>& bytes, Numerics numerics) {
      try {
        pack({format.type, {1, columns}, bytes}, "w", numerics, {}, pool);
        return false;
      } catch (const Error& error) {
        EXPECT_EQ(error.parts().where, "w");
        return true;
      }
    };
    const CounterRandom random(static_cast<uint64_t>(format.type));
    for (uint64_t sample = 0; sample < 1000; ++sample) {
      std::vector<std::byte> bytes(static_cast<size_t>(format.block_bytes));
      for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::byte>(random.bits(1000 * sample + i));
      if (sample % 4 == 1) std::fill_n(bytes.begin(), std::min<size_t>(4, bytes.size()), std::byte{0x7f});
      if (sample % 4 == 2) bytes.back() = std::byte{0x7c}, bytes[bytes.size() - 2 % bytes.size()] = std::byte{0};
      const std::vector<float> values = decoded(format.type, bytes);
      const bool finite = std::all_of(values.begin(), values.end(), [](float v) { return std::isfinite(v); });
      EXPECT_EQ(refused(bytes, Numerics::Fp32), !finite) << format.name << " " << sample;
      EXPECT_EQ(refused(bytes, Numerics::Deployed), !finite) << format.name << " " << sample;
    }
  }
}

// One run of the threads over all matrices, some of them of several parts: the tiles of each alone.
TEST(Pack, ManyAtOnceAreEachAsAlone) {
  ThreadPool one(1), three(3);
  const int64_t columns = 576, n_rows[] = {16, 1500, 33};
  std::vector<std::vector<std::byte>> bytes;
  std::vector<StoredTensor> tensors;
  for (const int64_t rows : n_rows) bytes.push_back(random_blocks(TensorType::Q4_1, rows * columns, 20));
  for (size_t i = 0; i < 3; ++i) tensors.push_back({TensorType::Q4_1, {n_rows[i], columns}, bytes[i]});
  std::vector<int64_t> backwards;
  for (int64_t r = 0; r < n_rows[1]; ++r) backwards.push_back(n_rows[1] - 1 - r);
  const StoredMatrix stored[] = {
      {&tensors[0], "a"}, {&tensors[1], "b", Numerics::Deployed, backwards}, {&tensors[2], "c"}};
  const std::vector<Matrix> packed = pack_all(stored, three);
  ASSERT_EQ(packed.size(), 3u);
  for (size_t i = 0; i < 3; ++i) {
    const Matrix alone = pack(tensors[i], "w", Numerics::Deployed, stored[i].source_rows, one);
    ASSERT_EQ(packed[i].memory.size_bytes(), alone.memory.size_bytes());
    EXPECT_EQ(std::memcmp(packed[i].tiles.data, alone.tiles.data, alone.memory.size_bytes()), 0) << i;
  }
}

// Whichever thread comes upon which error first.
TEST(Pack, NamesTheFirstOfSeveralErrors) {
  ThreadPool pool(3);
  const int64_t rows = 2000, columns = 64;  // two parts a matrix
  std::vector<float> good(static_cast<size_t>(rows * columns), 1.0f), bad = good;
  for (const int64_t row : {1500, 1501, 1999}) bad[static_cast<size_t>(row * columns)] = NAN;
  const StoredTensor sound{TensorType::F32, {rows, columns}, std::as_bytes(std::span<const float>(good))};
  const StoredTensor broken{TensorType::F32, {rows, columns}, std::as_bytes(std::span<const float>(bad))};
  const StoredMatrix stored[] = {{&sound, "a"}, {&broken, "b"}, {&broken, "c"}, {&sound, "d"}};
  for (int run = 0; run < 50; ++run) {
    try {
      pack_all(stored, pool);
      FAIL() << "nothing was refused";
    } catch (const Error& error) {
      EXPECT_EQ(error.parts().where, "b");
      EXPECT_EQ(error.parts().got, "NaN or infinity in row 1500");
    }
  }
  EXPECT_EQ(pack_all({stored, 1}, pool).size(), 1u);  // the threads are free again
}

TEST(Pack, RefusesExponentsThatOverflow) {
  ThreadPool pool(1);
  int refused = 0;
  for (int exponent = 0; exponent < 256; ++exponent) {
    std::vector<std::byte> block(17, std::byte{0x77});  // all codes 7, which stands for 6
    block[0] = static_cast<std::byte>(exponent);
    const bool finite = std::isfinite(decoded(TensorType::MXFP4, block)[0]);
    const StoredTensor tensor{TensorType::MXFP4, {1, 32}, block};
    if (finite) {
      EXPECT_NO_THROW(pack(tensor, "w", Numerics::Deployed, {}, pool)) << exponent;
    } else {
      EXPECT_THROW(pack(tensor, "w", Numerics::Deployed, {}, pool), Error) << exponent;
      ++refused;
    }
  }
  EXPECT_EQ(refused, 3);  // 6 * 2^126 is above the largest f32: 253, 254 and 255
}

// Memory is what bounds generation: no type may need more of it than its file.
TEST(Pack, NeedsNoMoreThanTheFile) {
  for (const QuantFormat& format : quant_formats()) {
    bool decoded_values = false;
    const TileFormat tile = tile_format_for(format.type, Numerics::Deployed, &decoded_values);
    if (decoded_values || tile == TileFormat::F32) continue;
    for (const int64_t columns : {768, 1536, 2048}) {
      const auto stored = static_cast<double>(64 * format.row_bytes(columns));
      const auto packed = static_cast<double>(packed_bytes(format.type, 64, columns, Numerics::Deployed));
      EXPECT_LE(packed, 1.02 * stored) << format.name << " of " << columns << " columns";
    }
  }
  EXPECT_EQ(packed_bytes(TensorType::Q4_K, 17, 256, Numerics::Deployed), 2 * 16 * 144);
  EXPECT_EQ(packed_bytes(TensorType::Q4_K, 16, 256, Numerics::Fp32), 16 * 256 * 4);
}

TEST(Pack, ChoosesTiles) {
  bool decoded_values = false;
  EXPECT_EQ(tile_format_for(TensorType::Q4_1, Numerics::Deployed, &decoded_values), TileFormat::Q4_1);
  EXPECT_FALSE(decoded_values);
  EXPECT_EQ(tile_format_for(TensorType::Q4_1, Numerics::Fp32, &decoded_values), TileFormat::F32);
  EXPECT_FALSE(decoded_values);
  EXPECT_EQ(tile_format_for(TensorType::BF16, Numerics::Deployed, &decoded_values), TileFormat::BF16);
  EXPECT_EQ(tile_format_for(TensorType::Q8_K, Numerics::Deployed, &decoded_values), TileFormat::F32);
  EXPECT_TRUE(decoded_values);
}

}  // namespace
}  // namespace attar::runtime
