// Every instruction set's kernels against the scalar reference, on odd sizes; and the promise that one row at a time
// and many rows together give the same bits.
#include "runtime/kernels/kernels.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "runtime/base/half.h"
#include "runtime/base/host/cpu.h"
#include "tests/runtime/kernels/kernel_tables.h"

namespace attar::runtime {
namespace {

struct TestMatrix {
  PackedMatrix m;
  std::vector<uint8_t> memory, grid;
};

const TileTraits& traits_of(TileFormat format) {
  return kTileTraits[static_cast<int>(format)];
}

// Columns in whole blocks of the tensor type: `blocks` of 32 or the next number that is.
int64_t whole_blocks(TileFormat format, int64_t blocks) {
  const int64_t together = traits_of(format).scales.blocks;
  return (blocks + together - 1) / together * together;
}

// Random codes, small random scales and minima, laid out as kernels.h says.
TestMatrix random_matrix(TileFormat format, int64_t tiles, int64_t wanted_blocks, uint64_t seed) {
  const TileTraits& t = traits_of(format);
  const TileLayout& layout = kTileLayouts.of[static_cast<int>(format)];
  const CounterRandom random(seed);
  const int64_t blocks = whole_blocks(format, wanted_blocks);
  TestMatrix result;
  PackedMatrix& m = result.m;
  m = {.rows = tiles * kTileRows, .columns = blocks * kBlock, .n_tiles = tiles, .n_blocks = blocks, .format = format};
  m.scales_offset = blocks * layout.code_bytes;
  m.tile_bytes = m.scales_offset + blocks / t.scales.blocks * layout.scale_bytes;
  result.memory.resize(static_cast<size_t>(tiles * m.tile_bytes));
  for (size_t i = 0; i < result.memory.size(); ++i) result.memory[i] = static_cast<uint8_t>(random.bits(i));
  for (int64_t tile = 0; tile < tiles; ++tile)
    for (int64_t part = m.scales_offset; part < m.tile_bytes; part += layout.part_bytes) {
      uint8_t* to = result.memory.data() + tile * m.tile_bytes + part;
      for (int row = 0; row < kTileRows; ++row) {
        const auto own = static_cast<uint64_t>(1000000 + tile * m.tile_bytes + part + row);
        const uint16_t half = f32_to_f16(static_cast<float>(random.uniform(own) - 0.4));
        if (t.scales.kind == ScaleKind::E8M0)
          to[row] = static_cast<uint8_t>(118 + random.bits(own) % 12);
        else if (t.scales.kind == ScaleKind::UE4M3)
          for (int set = 0; set < 4; ++set) to[16 * set + row] &= 0x7f;
        else
          std::memcpy(to + 2 * row, &half, 2);
      }
    }
  for (int i = 0; i < 16; ++i)
    m.table[i] = static_cast<uint8_t>(random.bits(static_cast<uint64_t>(5000000 + i)) % (t.codes.most + 1u));
  result.grid.resize(static_cast<size_t>(t.point_codes) << t.index_bits);
  for (size_t i = 0; i < result.grid.size(); ++i)  // a shift of one is to stay a code
    result.grid[i] = static_cast<uint8_t>(1 + random.bits(6000000 + i) % (t.codes.most - 1u));
  m.data = result.memory.data();
  m.grid = result.grid.data();
  return result;
}

struct TestRows {
  std::vector<int8_t> codes;
  std::vector<BlockInfo> blocks;
  QuantizedRows view;
};

TestRows quantize_rows(const Kernels& k, const std::vector<float>& x, int64_t rows, int64_t columns) {
  TestRows q;
  const int64_t n_blocks = (columns + kBlock - 1) / kBlock;
  q.codes.resize(static_cast<size_t>(rows * n_blocks * kBlock));
  q.blocks.resize(static_cast<size_t>(rows * n_blocks));
  for (int64_t r = 0; r < rows; ++r)
    k.quantize(x.data() + r * columns, columns, q.codes.data() + r * n_blocks * kBlock, q.blocks.data() + r * n_blocks);
  q.view = {q.codes.data(), q.blocks.data(), n_blocks * kBlock, n_blocks};
  return q;
}

std::vector<float> run_gemv(const Kernels& k, const TestMatrix& w, const TestRows& x, int64_t rows, bool add) {
  std::vector<float> out = random_floats(static_cast<size_t>(rows * w.m.rows), 5);
  for (int64_t r = 0; r < rows; ++r)
    k.gemv(w.m, 0, w.m.n_tiles, x.view.codes + r * x.view.code_stride, x.view.blocks + r * x.view.n_blocks,
           {out.data() + r * w.m.rows, w.m.rows, add});
  return out;
}

std::vector<float> run_skinny(const Kernels& k, const TestMatrix& w, const TestRows& x, int64_t rows, bool add) {
  std::vector<float> out = random_floats(static_cast<size_t>(rows * w.m.rows), 5);
  k.skinny(w.m, 0, w.m.n_tiles, x.view, rows, {out.data(), w.m.rows, add});
  return out;
}

std::vector<float> run_gemm(const Kernels& k, const TestMatrix& w, const TestRows& x, int64_t rows, bool add) {
  std::vector<float> out = random_floats(static_cast<size_t>(rows * w.m.rows), 5);
  const int64_t panel_bytes = w.m.n_blocks * (512 + 4 * 64);
  std::vector<uint8_t> panels(static_cast<size_t>(panel_bytes * w.m.n_tiles));
  for (int64_t t = 0; t < w.m.n_tiles; ++t) k.unpack(w.m, t, panels.data() + t * panel_bytes);
  k.gemm(w.m, panels.data(), panel_bytes, w.m.n_tiles, x.view, rows, {out.data(), w.m.rows, add});
  return out;
}

void expect_near(const std::vector<float>& got, const std::vector<float>& expected, double tolerance,
                 const std::string& what) {
  ASSERT_EQ(got.size(), expected.size());
  double scale = 1e-6;
  for (const float e : expected) scale = std::max(scale, std::fabs(static_cast<double>(e)));
  for (size_t i = 0; i < got.size(); ++i) ASSERT_NEAR(got[i], expected[i], tolerance * scale) << what << " at " << i;
}

std::vector<TileFormat> code_tiles() {
  std::vector<TileFormat> formats;
  for (int i = 0; i < kTileFormats; ++i)
    if (kTileTraits[i].codes.kind != CodeKind::Plain) formats.push_back(static_cast<TileFormat>(i));
  return formats;
}

TEST(Kernels, QuantizesByHand) {
  for (const Kernels* k : all_kernels()) {
    std::vector<float> x(33, 0.0f);
    x[0] = 127.0f;
    x[1] = -63.4f;
    x[2] = 2.5f;  // halfway: to the even neighbour
    x[31] = 1.0f;
    x[32] = -2.0f;
    const TestRows q = quantize_rows(*k, x, 1, 33);
    EXPECT_EQ(q.codes[0], 127);
    EXPECT_EQ(q.codes[1], -63);
    EXPECT_EQ(q.codes[2], 2);
    EXPECT_EQ(q.codes[31], 1);
    EXPECT_EQ(q.codes[32], -127);
    for (size_t i = 33; i < 64; ++i) EXPECT_EQ(q.codes[i], 0);
    EXPECT_EQ(q.blocks[0].scale, 1.0f);
    EXPECT_EQ(q.blocks[0].minus_128_sums, -128 * (127 - 63 + 2 + 1));
    EXPECT_EQ(q.blocks[0].minus_128_half[0], -128 * (127 - 63 + 2));
    EXPECT_EQ(q.blocks[0].minus_128_half[1], -128);
    EXPECT_EQ(q.blocks[0].scaled_sum, 67.0f);
    EXPECT_EQ(q.blocks[1].scale, 2.0f / 127.0f);
    const std::vector<float> tiny(32, 1e-38f);  // 127 / 1e-38 overflows
    const TestRows nothing = quantize_rows(*k, tiny, 1, 32);
    EXPECT_EQ(nothing.blocks[0].scale, 0.0f);
    EXPECT_EQ(nothing.codes[0], 0);
  }
}

// A number that is no number stays so on its way through every kernel that could cap or skip it.
TEST(Kernels, NaNIsNeverLost) {
  for (const Kernels* k : all_kernels())
    for (const float wrong : {std::nanf(""), -std::nanf(""), HUGE_VALF}) {
      for (const size_t at : {size_t{0}, size_t{17}, size_t{31}}) {
        std::vector<float> x = random_floats(32, 9);
        x[at] = wrong;
        const TestRows q = quantize_rows(*k, x, 1, 32);
        EXPECT_FALSE(std::isfinite(q.blocks[0].scale)) << at;
        EXPECT_FALSE(std::isfinite(q.blocks[0].scaled_sum)) << at;
      }
      if (!std::isnan(wrong)) continue;
      std::vector<float> scores(32, 0.5f), gate(32, 0.5f);
      const std::vector<float> up(32, 1.0f);
      scores[3] = gate[3] = wrong;
      std::vector<uint16_t> halves(32);
      k->to_f16(scores.data(), 32, halves.data());
      EXPECT_TRUE(std::isnan(f16_to_f32(halves[3])));
      float most = 0.0f, total = 0.0f;
      k->softmax(scores.data(), 0, 32, 32, &most, &total);
      EXPECT_TRUE(std::isnan(total));
      k->silu_gate(gate.data(), up.data(), 32);
      EXPECT_TRUE(std::isnan(gate[3]));
    }
}

TEST(Kernels, QuantizeAgrees) {
  for (const int64_t n : {1, 15, 16, 17, 31, 32, 33, 64, 172, 577}) {
    const std::vector<float> x = random_floats(static_cast<size_t>(n), 3, 7.0);
    const TestRows expected = quantize_rows(scalar_kernels(), x, 1, n);
    for (const Kernels* k : fast_kernels()) {
      const TestRows got = quantize_rows(*k, x, 1, n);
      EXPECT_EQ(got.codes, expected.codes) << n;
      EXPECT_EQ(std::memcmp(got.blocks.data(), expected.blocks.data(), got.blocks.size() * sizeof(BlockInfo)), 0) << n;
    }
  }
}

// A matrix times rows, from the definition: sums of weight * activation in double.
std::vector<float> product_reference(const TestMatrix& w, const TestRows& x, int64_t rows) {
  const ScaleTraits& t = traits_of(w.m.format).scales;
  const Kernels& k = scalar_kernels();
  const int n = t.half ? 2 : 1;
  const int64_t panel_bytes = w.m.n_blocks * (512 + 4 * 64);
  std::vector<uint8_t> panel(static_cast<size_t>(panel_bytes));
  std::vector<float> out(static_cast<size_t>(rows * w.m.rows));
  for (int64_t row = 0; row < w.m.rows; ++row) {
    k.unpack(w.m, row / 16, panel.data());
    const auto* scales = reinterpret_cast<const float*>(panel.data() + w.m.n_blocks * 512);
    const float* minima = scales + w.m.n_blocks * n * 16;
    for (int64_t i = 0; i < rows; ++i) {
      double sum = 0.0;
      for (int64_t c = 0; c < w.m.columns; ++c) {
        const int64_t set = c / kBlock * n + (n == 2 ? c % kBlock / 16 : 0);
        const auto code = static_cast<int8_t>(panel[static_cast<size_t>(c / kBlock * 512 + row % 16 * 32 + c % 32)]);
        const double weight =
            double{scales[set * 16 + row % 16]} * code + (t.has_min ? minima[set * 16 + row % 16] : 0.0f);
        sum +=
            weight * x.view.blocks[i * x.view.n_blocks + c / kBlock].scale * x.view.codes[i * x.view.code_stride + c];
      }
      out[static_cast<size_t>(i * w.m.rows + row)] = static_cast<float>(sum);
    }
  }
  return out;
}

TEST(Kernels, CodeProductsAgreeInEveryFormat) {
  for (const TileFormat format : code_tiles())
    for (const auto& [tiles, blocks, rows] : {std::tuple{1, 1, 1}, {3, 5, 2}, {2, 18, 7}, {5, 3, 13}}) {
      const TestMatrix w = random_matrix(format, tiles, blocks, 11);
      const int64_t columns = w.m.columns;
      const TestRows x =
          quantize_rows(scalar_kernels(), random_floats(static_cast<size_t>(rows * columns), 4), rows, columns);
      const std::string what = "format " + std::to_string(static_cast<int>(format));
      const std::vector<float> defined = product_reference(w, x, rows);
      for (const Kernels* k : all_kernels()) {
        const std::string where = what + " " + isa_name(k->isa);
        std::vector<float> onto = random_floats(defined.size(), 5);
        expect_near(run_gemv(*k, w, x, rows, false), defined, 1e-5, where);  // f32 sums over 18 blocks
        expect_near(run_gemm(*k, w, x, rows, false), defined, 1e-5, where);
        for (size_t i = 0; i < onto.size(); ++i) onto[i] += defined[i];
        expect_near(run_gemm(*k, w, x, rows, true), onto, 1e-5, where + " onto");
      }
    }
}

TEST(Kernels, OneRowAndManyRowsGiveTheSameBits) {
  for (const TileFormat format : code_tiles()) {
    const TestMatrix w = random_matrix(format, 3, 7, 12);
    const int64_t columns = w.m.columns;
    const TestRows x =
        quantize_rows(scalar_kernels(), random_floats(static_cast<size_t>(23 * columns), 4), 23, columns);
    for (const Kernels* k : all_kernels())
      for (const bool add : {false, true})
        EXPECT_EQ(run_gemv(*k, w, x, 23, add), run_gemm(*k, w, x, 23, add))
            << static_cast<int>(format) << " " << isa_name(k->isa);
  }
}

TEST(Kernels, OneRowAndAFewGiveTheSameBits) {
  for (const TileFormat format : code_tiles())
    for (const int64_t blocks : {1, 7, 8, 19}) {
      const TestMatrix w = random_matrix(format, 3, blocks, 12);
      for (int64_t rows = 1; rows <= kSkinnyRows; ++rows) {
        const TestRows x = quantize_rows(scalar_kernels(), random_floats(static_cast<size_t>(rows * w.m.columns), 4),
                                         rows, w.m.columns);
        for (const Kernels* k : all_kernels())
          for (const bool add : {false, true})
            ASSERT_EQ(run_skinny(*k, w, x, rows, add), run_gemv(*k, w, x, rows, add))
                << static_cast<int>(format) << " " << isa_name(k->isa) << ", " << rows << " rows";
      }
    }
}

TEST(Kernels, FastInstructionSetsGiveTheSameBits) {
  const std::vector<const Kernels*> all = fast_kernels();
  if (all.size() < 2) GTEST_SKIP() << "this machine has one fast instruction set";
  for (const TileFormat format : code_tiles())
    for (const auto& [tiles, blocks, rows] :
         {std::tuple{3, 7, 9}, {1, 1, 16}, {2, 1, 17}, {3, 18, 31}, {1, 19, 128}, {3, 37, 150}}) {
      const TestMatrix w = random_matrix(format, tiles, blocks, 12);
      const int64_t columns = w.m.columns;
      const TestRows x = quantize_rows(*all[0], random_floats(static_cast<size_t>(rows * columns), 4), rows, columns);
      for (const bool add : {false, true}) {
        const std::vector<float> first = run_gemm(*all[0], w, x, rows, add);
        for (const Kernels* k : all)
          EXPECT_EQ(run_gemm(*k, w, x, rows, add), first)
              << static_cast<int>(format) << " " << isa_name(k->isa) << ", " << rows << " rows";
      }
    }
}

std::vector<float> run_plain(const Kernels& k, const PlainTiles& tiles, const std::vector<float>& x, int64_t rows,
                             int64_t step) {
  const int64_t width = tiles.n_tiles * kTileRows;
  std::vector<float> out = random_floats(static_cast<size_t>(rows * width), 6);
  const auto multiply = tiles.format == TileFormat::I8 ? k.weigh_codes : k.gemm_plain;
  for (int64_t r = 0; r < rows; r += step)
    multiply(tiles, {x.data() + r * tiles.depth, tiles.depth}, std::min(step, rows - r),
             {out.data() + r * width, width, true});
  return out;
}

TEST(Kernels, PlainProductsAgreeAndDoNotDependOnGrouping) {
  for (const TileFormat format : {TileFormat::F32, TileFormat::F16, TileFormat::BF16, TileFormat::I8})
    for (const auto& [n_tiles, depth, rows] : {std::tuple{1, 1, 1}, {9, 172, 1}, {3, 33, 29}, {6, 64, 12}}) {
      const std::vector<float> weights = random_floats(static_cast<size_t>(n_tiles * depth * 16), 8);
      std::vector<uint8_t> memory(weights.size() * 4);
      std::vector<float> exact(weights.size());
      for (size_t i = 0; i < weights.size(); ++i) {
        const uint16_t half = format == TileFormat::F16 ? f32_to_f16(weights[i]) : f32_to_bf16(weights[i]);
        const auto code = static_cast<int8_t>(weights[i] * 127.0f);
        exact[i] = format == TileFormat::F32   ? weights[i]
                   : format == TileFormat::F16 ? f16_to_f32(half)
                   : format == TileFormat::I8  ? code * kCodeUnit
                                               : bf16_to_f32(half);
        if (format == TileFormat::I8)
          memory[i] = static_cast<uint8_t>(code);
        else if (format == TileFormat::F32)
          std::memcpy(memory.data() + 4 * i, &weights[i], 4);
        else
          std::memcpy(memory.data() + 2 * i, &half, 2);
      }
      const int64_t code_bits = kTileTraits[static_cast<int>(format)].codes.bits;
      const PlainTiles tiles = {memory.data(), depth * 2 * code_bits, n_tiles, depth, format};
      const std::vector<float> x = random_floats(static_cast<size_t>(rows * depth), 9);
      std::vector<float> expected = random_floats(static_cast<size_t>(rows * n_tiles * 16), 6);
      for (int64_t r = 0; r < rows; ++r)
        for (int64_t o = 0; o < n_tiles * 16; ++o) {
          double sum = 0.0;
          for (int64_t c = 0; c < depth; ++c)
            sum += double{exact[static_cast<size_t>((o / 16 * depth + c) * 16 + o % 16)]} *
                   x[static_cast<size_t>(r * depth + c)];
          expected[static_cast<size_t>(r * n_tiles * 16 + o)] += static_cast<float>(sum);
        }
      for (const Kernels* k : all_kernels()) {
        const std::vector<float> whole = run_plain(*k, tiles, x, rows, rows);
        expect_near(whole, expected, 1e-5, isa_name(k->isa));
        for (const int64_t step : {1, 2, 5}) EXPECT_EQ(run_plain(*k, tiles, x, rows, step), whole) << isa_name(k->isa);
      }
    }
}

// x * y + z as fast kernels have it: two columns of a tile, the first z times 1.
float multiply_add(const Kernels& k, float x, float y, float z) {
  std::vector<float> tile(2 * kTileRows, z), out(kTileRows);
  std::fill(tile.begin() + kTileRows, tile.end(), x);
  const float row[2] = {1.0f, y};
  k.gemm_plain({tile.data(), static_cast<int64_t>(tile.size()) * 4, 1, 2, TileFormat::F32}, {row, 2}, 1,
               {out.data(), kTileRows, false});
  return out[7];
}

// By hand: 1 - 2^-46 is a product of two f32, and in f64 some of these sums lie just between two f32.
TEST(Kernels, MultiplyAddsAreRoundedOnce) {
  constexpr float kAbove = 1.0f + 0x1p-23f, kBelow = 1.0f - 0x1p-23f, kInfinity = INFINITY;
  for (const Kernels* k : fast_kernels()) {
    const auto fma = [&](float x, float y, float z) { return multiply_add(*k, x, y, z); };
    EXPECT_EQ(fma(0x1p-24f * kAbove, kBelow, kAbove), kAbove) << isa_name(k->isa);
    EXPECT_EQ(fma(-0x1p-24f * kAbove, kBelow, kAbove), kAbove);
    EXPECT_EQ(fma(0x1p-24f * kAbove, -kBelow, -kAbove), -kAbove);
    EXPECT_EQ(fma(0x1p-75f * kAbove, 0x1p-75f * kBelow, 0x1p-127f + 0x1p-149f), 0x1p-127f + 0x1p-149f);
    EXPECT_EQ(fma(0x1p-75f * kAbove, -0x1p-75f * kBelow, 0x1p-127f + 0x1p-149f), 0x1p-127f + 0x1p-149f);
    EXPECT_EQ(fma(0x1p-24f, 1.0f, kAbove), 1.0f + 0x1p-22f);  // just between, without any doubt
    EXPECT_EQ(fma(0x1p-24f, 1.0f, 1.0f), 1.0f);
    EXPECT_EQ(fma(0x1p-75f, 0x1p-75f, 0.0f), 0.0f);
    EXPECT_EQ(fma(0x1p-75f, 0x1.000002p-75f, 0.0f), 0x1p-149f);
    EXPECT_EQ(fma(0x1p100f, 0x1p28f, -0x1p127f), 0x1p127f);
    EXPECT_EQ(fma(0x1p100f, 0x1p28f, 1.0f), kInfinity);
    EXPECT_EQ(fma(kInfinity, 1.0f, -1.0f), kInfinity);
    EXPECT_TRUE(std::isnan(fma(kInfinity, 1.0f, -kInfinity)));
    EXPECT_TRUE(std::isnan(fma(NAN, 1.0f, 1.0f)));
  }
}

TEST(Kernels, NormsRopeGatesAgree) {
  for (const int64_t n : {1, 4, 8, 16, 31, 64, 172, 576}) {
    const auto size = static_cast<size_t>(n);
    const std::vector<float> x = random_floats(size, 1, 20.0), y = random_floats(size, 2);
    for (const Kernels* k : fast_kernels()) {
      const Kernels& ref = scalar_kernels();
      const std::string what = std::string(isa_name(k->isa)) + " " + std::to_string(n);
      std::vector<float> got(size), expected(size);
      k->rms_norm(x.data(), y.data(), 1e-5f, n, got.data());
      ref.rms_norm(x.data(), y.data(), 1e-5f, n, expected.data());
      expect_near(got, expected, 2e-6, "rms_norm " + what);
      for (const auto gate : {&Kernels::silu_gate, &Kernels::gelu_gate}) {
        got = expected = x;
        (k->*gate)(got.data(), y.data(), n);
        (ref.*gate)(expected.data(), y.data(), n);
        expect_near(got, expected, 1e-6, "gate " + what);
      }
      got = expected = x;
      k->blend(got.data(), 0.25f, y.data(), 3.0f, n);
      ref.blend(expected.data(), 0.25f, y.data(), 3.0f, n);
      expect_near(got, expected, 1e-6, "blend " + what);
      got = expected = x;
      k->multiply(got.data(), y.data(), n);
      ref.multiply(expected.data(), y.data(), n);
      EXPECT_EQ(got, expected) << "multiply " << what;
      std::vector<uint16_t> half(size), half_expected(size);
      k->to_f16(x.data(), n, half.data());
      ref.to_f16(x.data(), n, half_expected.data());
      EXPECT_EQ(half, half_expected);
      if (n % 2 != 0) continue;
      got = expected = x;
      k->rope(got.data(), y.data(), y.data() + n / 2, n / 2, 0.5f);
      ref.rope(expected.data(), y.data(), y.data() + n / 2, n / 2, 0.5f);
      expect_near(got, expected, 1e-6, "rope " + what);
    }
  }
}

TEST(Kernels, ActivationsOfExtremes) {
  for (const Kernels* k : all_kernels()) {
    std::vector<float> gate{-200.0f, -20.0f, -1e-9f, 0.0f, 1.0f, 200.0f}, up(6, 1.0f), other = gate;
    k->silu_gate(gate.data(), up.data(), 6);
    EXPECT_NEAR(gate[0], 0.0, 1e-30);
    EXPECT_NEAR(gate[4], 1.0 / (1.0 + std::exp(-1.0)), 2e-7);
    EXPECT_EQ(gate[3], 0.0f);
    EXPECT_EQ(gate[5], 200.0f);
    k->gelu_gate(other.data(), up.data(), 6);
    EXPECT_NEAR(other[0], 0.0, 1e-30);
    EXPECT_NEAR(other[4], 0.8411919906082768, 2e-7);
    EXPECT_EQ(other[5], 200.0f);
    const uint16_t largest = 0x7bff;
    uint16_t half[2];
    const float huge[2] = {1e9f, -1e9f};
    k->to_f16(huge, 2, half);
    EXPECT_EQ(half[0], largest);
    EXPECT_EQ(half[1], largest | 0x8000);
  }
}

TEST(Kernels, SoftmaxOfARange) {
  for (const Kernels* k : all_kernels())
    for (const auto& [begin, end] : {std::pair{0, 48}, {0, 1}, {5, 6}, {3, 37}, {16, 32}, {47, 48}}) {
      std::vector<float> scores = random_floats(48, 7, 30.0);
      const std::vector<float> before = scores;
      float max = 0, sum = 0;
      k->softmax(scores.data(), begin, end, 48, &max, &sum);
      const float highest = *std::max_element(before.begin() + begin, before.begin() + end);
      EXPECT_EQ(max, highest);
      double total = 0.0;
      for (int i = 0; i < 48; ++i) {
        const double expected =
            i >= begin && i < end ? std::exp(double{before[static_cast<size_t>(i)]} - highest) : 0.0;
        EXPECT_NEAR(scores[static_cast<size_t>(i)], expected, 3e-7);
        total += expected;
      }
      EXPECT_NEAR(sum, total, 1e-5 * total);
    }
}

}  // namespace
}  // namespace attar::runtime
