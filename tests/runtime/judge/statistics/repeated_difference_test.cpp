#include "runtime/judge/statistics/repeated_difference.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numbers>
#include <vector>

#include "runtime/base/random.h"

namespace attar::runtime {
namespace {

using Repeats = std::vector<std::vector<WindowSum>>;

TEST(RepeatedDifference, OneRepeatIsThePairedDifferenceOfItsWindows) {
  const std::vector<double> a{1, 2, 7, 4, 9, 0}, b{0, 1, 4, 1, 2, 2};
  const std::vector<size_t> ends{2, 4, 6};
  const PairedDifference paired = paired_difference(a, b, ends);
  const PairedDifference got = repeated_difference(Repeats{{{2, 2}, {6, 2}, {5, 2}}});
  EXPECT_DOUBLE_EQ(got.mean, paired.mean);
  EXPECT_NEAR(got.low, paired.low, 1e-12);
  EXPECT_NEAR(got.high, paired.high, 1e-12);
}

// Windows whose means over the repeats are equal say nothing: what is left is t(2) = 4.303 times the deviation of the
// repeats 1, 2, 3 over sqrt(3).
TEST(RepeatedDifference, ThreeRepeatsByHand) {
  const PairedDifference got = repeated_difference(Repeats{{{4, 4}, {4, 4}}, {{8, 4}, {8, 4}}, {{12, 4}, {12, 4}}});
  EXPECT_DOUBLE_EQ(got.mean, 2.0);
  EXPECT_NEAR(got.high - 2.0, 4.3027 / std::sqrt(3.0), 1e-12);
  EXPECT_NEAR(2.0 - got.low, 4.3027 / std::sqrt(3.0), 1e-12);
}

// Windows 1 and 3 in each repeat: no repeat differs, the text's own error is 1 (paired_difference_test.cpp).
TEST(RepeatedDifference, EqualRepeatsHaveTheTextsOwnError) {
  const PairedDifference got = repeated_difference(Repeats{{{2, 2}, {6, 2}}, {{2, 2}, {6, 2}}});
  EXPECT_NEAR(got.high, 2.0 + 12.7062, 1e-12);
}

TEST(RepeatedDifference, OneWindowHasNoInterval) {
  const PairedDifference got = repeated_difference(Repeats{{{2, 2}}, {{4, 2}}});
  EXPECT_DOUBLE_EQ(got.mean, 1.5);
  EXPECT_EQ(got.low, -HUGE_VAL);
  EXPECT_EQ(got.high, HUGE_VAL);
}

// Standard normal numbers.
class Normal {
 public:
  double operator()() {
    const double u = 1.0 - random_.uniform(next_++), v = random_.uniform(next_++);
    return std::sqrt(-2.0 * std::log(u)) * std::cos(2.0 * std::numbers::pi * v);
  }

 private:
  CounterRandom random_{11};
  uint64_t next_ = 0;
};

// True difference 0; effects of the seed, of the window and of both together. Of 2,000 intervals 95 % should hold 0,
// and at least 93 % must; those of the windows alone, with a seed's effect as large as here, are right far less often.
TEST(RepeatedDifference, TheIntervalHoldsTheTruthAsOftenAsItSays) {
  constexpr int kTries = 2000, kWindows = 40;
  for (const int seeds : {2, 3, 5}) {
    Normal normal;
    int held = 0, held_by_windows = 0;
    for (int t = 0; t < kTries; ++t) {
      std::vector<double> of_window(kWindows);
      for (double& effect : of_window) effect = normal();
      Repeats repeats;
      for (int s = 0; s < seeds; ++s) {
        const double of_seed = 0.3 * normal();
        repeats.emplace_back();
        for (const double effect : of_window) repeats.back().push_back({8 * (effect + of_seed + normal()), 8});
      }
      const PairedDifference all = repeated_difference(repeats), one = repeated_difference(std::span(repeats).first(1));
      held += all.low <= 0 && all.high >= 0 ? 1 : 0;
      held_by_windows += one.low <= 0 && one.high >= 0 ? 1 : 0;
    }
    EXPECT_GE(held, kTries * 93 / 100) << seeds << " seeds";
    EXPECT_LT(held_by_windows, kTries * 90 / 100);
  }
}

}  // namespace
}  // namespace attar::runtime
