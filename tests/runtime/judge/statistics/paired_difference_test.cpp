#include "runtime/judge/statistics/paired_difference.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

namespace attar::runtime {
namespace {

TEST(PairedDifference, OneWindowHasAMeanAndNoInterval) {
  const std::vector<double> a{1.0, 2.0, 6.0}, b{0.0, 2.0, 1.0};
  const PairedDifference got = paired_difference(a, b, std::vector<size_t>{3});
  EXPECT_DOUBLE_EQ(got.mean, 2.0);
  EXPECT_EQ(got.low, -HUGE_VAL);
  EXPECT_EQ(got.high, HUGE_VAL);
}

TEST(PairedDifference, TwoWindowsByHand) {  // their means 1 and 3: deviation of the mean sqrt(2 / 2) = 1; t(1) = 12.706
  const std::vector<double> a{1, 2, 7, 4}, b{0, 1, 4, 1};
  const PairedDifference got = paired_difference(a, b, std::vector<size_t>{2, 4});
  EXPECT_DOUBLE_EQ(got.mean, 2.0);
  EXPECT_NEAR(got.low, 2.0 - 12.7062, 1e-12);
  EXPECT_NEAR(got.high, 2.0 + 12.7062, 1e-12);
}

// The same values spread evenly over the windows say more than windows of equal ones do.
TEST(PairedDifference, PositionsOfAWindowThatGoTogetherWidenTheInterval) {
  std::vector<double> together(640), mixed(640);
  const std::vector<double> zero(640, 0.0);
  std::vector<size_t> ends;
  for (size_t i = 0; i < 640; ++i) {
    together[i] = i / 64 % 2 == 0 ? 1.0 : -1.0, mixed[i] = i % 2 == 0 ? 1.0 : -1.0;
    if ((i + 1) % 64 == 0) ends.push_back(i + 1);
  }
  const PairedDifference wide = paired_difference(together, zero, ends), narrow = paired_difference(mixed, zero, ends);
  EXPECT_NEAR(narrow.high - narrow.low, 0.0, 1e-12);
  EXPECT_GT(wide.high - wide.low, 1.0);
}

}  // namespace
}  // namespace attar::runtime
