#include "runtime/base/random.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace attar {
namespace {

// Known answers of the Random123 distribution (kat_vectors, philox4x32 10).
TEST(Philox, KnownAnswers) {
  EXPECT_EQ(philox({0, 0, 0, 0}, {0, 0}), (std::array<uint32_t, 4>{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(philox({0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}, {0xffffffff, 0xffffffff}),
            (std::array<uint32_t, 4>{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
}

TEST(CounterRandom, IsAFunctionOfSeedStreamAndPosition) {
  const CounterRandom a(7, 1), same(7, 1), other_stream(7, 2), other_seed(8, 1);
  EXPECT_EQ(a.bits(5), same.bits(5));
  EXPECT_NE(a.bits(5), a.bits(6));
  EXPECT_NE(a.bits(5), other_stream.bits(5));
  EXPECT_NE(a.bits(5), other_seed.bits(5));
  double sum = 0.0, squares = 0.0;
  int counts[3] = {};
  for (uint64_t position = 0; position < 1000; ++position) {
    sum += a.uniform(position), squares += a.uniform(position) * a.uniform(position);
    ++counts[std::min<uint64_t>(2, a.below(position, 3))];
    EXPECT_LT(a.below(position, 3), 3u);
    EXPECT_GE(a.uniform(position), 0.0);
    EXPECT_LT(a.uniform(position), 1.0);
  }
  EXPECT_NEAR(sum / 1000, 0.5, 0.03);  // three standard errors
  EXPECT_NEAR(squares / 1000, 1.0 / 3.0, 0.03);
  for (const int count : counts) EXPECT_NEAR(count, 333, 50);
}

}  // namespace
}  // namespace attar
