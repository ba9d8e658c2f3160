// Attention's kernels over int8 heads: each instruction set against the numbers by hand and the plain sums.
#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "runtime/base/host/cpu.h"
#include "tests/runtime/kernels/kernel_tables.h"

namespace attar::runtime {
namespace {

struct TestHeads {
  int64_t stride;
  std::vector<int8_t> codes;  // (rows, stride)
  std::vector<HeadInfo> info;
};
TestHeads quantize_heads(const Kernels& k, const std::vector<float>& x, int64_t rows, int64_t head_dim) {
  TestHeads heads{.stride = (head_dim + 15) / 16 * 16, .codes = {}, .info = {}};
  heads.codes.resize(static_cast<size_t>(rows * heads.stride), 99);
  heads.info.resize(static_cast<size_t>(rows));
  for (int64_t r = 0; r < rows; ++r)
    k.quantize_head(x.data() + r * head_dim, head_dim, heads.codes.data() + r * heads.stride, &heads.info[r]);
  return heads;
}

TEST(HeadKernels, QuantizesAHeadByHand) {
  for (const Kernels* k : all_kernels()) {
    std::vector<float> x(40, 0.0f);
    x[0] = -254.0f, x[1] = 5.0f, x[2] = 6.9f, x[39] = 100.0f;  // steps of 2: 5 is halfway, to the even neighbour
    const TestHeads head = quantize_heads(*k, x, 1, 40);
    EXPECT_EQ(head.info[0].scale, 2.0f);
    EXPECT_EQ(head.codes[0], -127);
    EXPECT_EQ(head.codes[1], 2);
    EXPECT_EQ(head.codes[2], 3);
    EXPECT_EQ(head.codes[39], 50);
    EXPECT_EQ(head.info[0].minus_128_sum, -128 * (-127 + 2 + 3 + 50));
    for (size_t i = 40; i < 48; ++i) EXPECT_EQ(head.codes[i], 0);
    EXPECT_EQ(quantize_heads(*k, std::vector<float>(7, 0.0f), 1, 7).info[0].scale, 0.0f);
    for (const float wrong : {std::nanf(""), HUGE_VALF})
      for (const size_t at : {size_t{0}, size_t{20}, size_t{39}}) {
        std::vector<float> bad(40, 1.0f);
        bad[at] = wrong;
        EXPECT_FALSE(std::isfinite(quantize_heads(*k, bad, 1, 40).info[0].scale)) << at;
      }
  }
}

// Sums are whole numbers, so every instruction set gives the reference's bits.
TEST(HeadKernels, CodedKeysGiveTheSameScoresEverywhere) {
  for (const auto& [head_dim, n_tiles, rows] :
       {std::tuple{2, 1, 1}, {6, 3, 2}, {20, 2, 3}, {64, 16, 4}, {80, 1, 9}, {250, 5, 13}}) {
    const int64_t n_quads = (head_dim + 3) / 4, positions = n_tiles * 16;
    const std::vector<float> x = random_floats(static_cast<size_t>(rows * head_dim), 3, 5.0);
    const std::vector<float> raw = random_floats(static_cast<size_t>(positions * n_quads * 4), 4, 127.0);
    std::vector<int8_t> keys;
    for (const float value : raw) keys.push_back(static_cast<int8_t>(value));
    const std::vector<float> scales = random_floats(static_cast<size_t>(positions), 5);
    const TestHeads queries = quantize_heads(scalar_kernels(), x, rows, head_dim);
    std::vector<float> expected(static_cast<size_t>(rows * positions));
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t p = 0; p < positions; ++p) {
        int32_t sum = 0;
        for (int64_t d = 0; d < head_dim; ++d)
          sum += keys[static_cast<size_t>((p / 16 * n_quads + d / 4) * 64 + p % 16 * 4 + d % 4)] *
                 queries.codes[static_cast<size_t>(r * queries.stride + d)];
        expected[static_cast<size_t>(r * positions + p)] =
            static_cast<float>(sum) * (scales[static_cast<size_t>(p)] * queries.info[static_cast<size_t>(r)].scale);
      }
    for (const Kernels* k : all_kernels()) {
      const TestHeads own = quantize_heads(*k, x, rows, head_dim);
      EXPECT_EQ(own.codes, queries.codes) << isa_name(k->isa);
      std::vector<float> scores(expected.size());
      k->score_codes({keys.data(), scales.data(), n_tiles, n_quads}, own.codes.data(), own.stride, own.info.data(),
                     rows, {scores.data(), positions});
      EXPECT_EQ(scores, expected) << isa_name(k->isa) << ", heads of " << head_dim;
    }
  }
}

}  // namespace
}  // namespace attar::runtime
