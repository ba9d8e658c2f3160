#include "runtime/judge/statistics/standard_error.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

namespace attar::runtime {
namespace {

double error_of(const std::vector<double>& values, const std::vector<size_t>& ends) {
  return window_standard_error(values, ends);
}

// Mean 3. Windows {1, 2}, {4, 5}: deviations of their sums -3 and 3; sqrt(2/1 * (9 + 9)) / 4 = 6 / 4.
TEST(StandardError, OfTwoWindowsByHand) {
  EXPECT_DOUBLE_EQ(error_of({1, 2, 4, 5}, {2, 4}), 1.5);
}

// Mean 2. Windows {2, 2, 5}, {0, 1}: deviations 3 and -3; sqrt(2 * 18) / 5 = 1.2.
TEST(StandardError, OfWindowsOfUnlikeLengthsByHand) {
  EXPECT_DOUBLE_EQ(error_of({2, 2, 5, 0, 1}, {3, 5}), 1.2);
}

// One position a window is the error of independent positions: sd / sqrt(n), here sqrt(10 / 3) / 2.
TEST(StandardError, OfSinglePositionsIsThatOfTheMean) {
  EXPECT_DOUBLE_EQ(error_of({1, 2, 4, 5}, {1, 2, 3, 4}), std::sqrt(10.0 / 3.0) / 2.0);
}

// Each position repeated four times inside its window tells nothing new.
TEST(StandardError, RepetitionInsideAWindowChangesNothing) {
  std::vector<double> values;
  std::vector<size_t> ends;
  for (const double value : {1.0, 2.0, 4.0, 5.0}) {
    values.insert(values.end(), 4, value);
    ends.push_back(values.size());
  }
  EXPECT_DOUBLE_EQ(error_of(values, ends), error_of({1, 2, 4, 5}, {1, 2, 3, 4}));
}

// Nats over bytes, 6 over 4. Windows of 2 over 1 and 4 over 3: deviations 1/2 and -1/2; sqrt(2 * 1/2) / 4.
TEST(StandardError, OfARatioByHand) {
  EXPECT_DOUBLE_EQ(ratio_standard_error(std::vector<WindowSum>{{2, 1}, {4, 3}}), 0.25);
  EXPECT_TRUE(std::isnan(ratio_standard_error(std::vector<WindowSum>{{2, 1}, {0, 0}})));
}

TEST(StandardError, IsNotKnownOfOneWindow) {
  EXPECT_TRUE(std::isnan(error_of({1, 2, 4, 5}, {4})));
  EXPECT_TRUE(std::isnan(error_of({1, 2, 4, 5}, {0, 4, 4}))) << "windows without positions are none";
  EXPECT_DOUBLE_EQ(error_of({1, 2, 4, 5}, {0, 2, 2, 4}), 1.5);
}

TEST(Reach95, IsStudentsQuantile) {
  EXPECT_EQ(reach95(1), HUGE_VAL);
  EXPECT_NEAR(reach95(2), 12.7062, 1e-4);
  EXPECT_NEAR(reach95(11), 2.2281, 1e-4);
  EXPECT_NEAR(reach95(12), 2.2010, 2e-4);
  EXPECT_NEAR(reach95(31), 2.0423, 1e-4);
  EXPECT_NEAR(reach95(101), 1.9840, 1e-4);
  EXPECT_NEAR(reach95(1000000), 1.95996, 1e-5);
}

}  // namespace
}  // namespace attar::runtime
