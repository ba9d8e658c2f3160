#include "runtime/judge/paired_difference.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

namespace attar::runtime {
namespace {

TEST(PairedDifference, OneBlockHasAMeanAndNoInterval) {
  const std::vector<double> a{1.0, 2.0, 6.0}, b{0.0, 2.0, 1.0};
  const PairedDifference got = paired_difference(a, b);
  EXPECT_DOUBLE_EQ(got.mean, 2.0);
  EXPECT_EQ(got.low, -HUGE_VAL);
  EXPECT_EQ(got.high, HUGE_VAL);
}

TEST(PairedDifference, TwoBlocksByHand) {  // block means 1 and 3: deviation of the mean sqrt(2 / 2) = 1
  std::vector<double> a(128, 1.0);
  const std::vector<double> b(128, 0.0);
  for (size_t i = 64; i < 128; ++i) a[i] = 3.0;
  const PairedDifference got = paired_difference(a, b);
  EXPECT_DOUBLE_EQ(got.mean, 2.0);
  EXPECT_NEAR(got.low, 2.0 - 1.96, 1e-12);
  EXPECT_NEAR(got.high, 2.0 + 1.96, 1e-12);
}

// The same values spread evenly say more than runs of equal ones do.
TEST(PairedDifference, NeighboursThatGoTogetherWidenTheInterval) {
  std::vector<double> runs(640), mixed(640);
  const std::vector<double> zero(640, 0.0);
  for (size_t i = 0; i < 640; ++i) runs[i] = i / 64 % 2 == 0 ? 1.0 : -1.0, mixed[i] = i % 2 == 0 ? 1.0 : -1.0;
  const PairedDifference wide = paired_difference(runs, zero), narrow = paired_difference(mixed, zero);
  EXPECT_NEAR(narrow.high - narrow.low, 0.0, 1e-12);
  EXPECT_GT(wide.high - wide.low, 1.0);
}

}  // namespace
}  // namespace attar::runtime
