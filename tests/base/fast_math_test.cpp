// fast_exp against the exact one, and what is not a number; maximum.
#include "runtime/base/fast_math.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>
#include <vector>

namespace attar {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

TEST(FastMath, ExponentialIsCloseEverywhere) {
  for (float x = -87.0f; x <= 88.0f; x += 0.0137f) {
    const double exact = std::exp(static_cast<double>(x));
    EXPECT_NEAR(static_cast<double>(fast_exp(x)) / exact, 1.0, 2e-7) << x;
  }
  EXPECT_EQ(fast_exp(0.0f), 1.0f);
  EXPECT_EQ(fast_exp(-0.0f), 1.0f);
}

TEST(FastMath, ExponentialOfWhatIsOutside) {
  for (const float x : {-87.01f, -100.0f, -1e30f, -kInfinity}) EXPECT_EQ(fast_exp(x), 0.0f) << x;
  for (const float x : {88.01f, 100.0f, 1e30f, kInfinity}) EXPECT_EQ(fast_exp(x), kInfinity) << x;
}

TEST(FastMath, ExponentialOfNaNIsNaN) {
  for (const uint32_t payload : {0x7fc00000u, 0xffc00000u, 0x7fc00001u, 0x7f8001ffu, 0x7fffffffu, 0xffffffffu})
    EXPECT_TRUE(std::isnan(fast_exp(std::bit_cast<float>(payload)))) << std::hex << payload;
  for (const size_t at : {0u, 15u, 16u, 36u}) {  // in the vector part of a row and behind it
    std::vector<float> row(37, 0.5f);
    row[at] = std::nanf("1");
    EXPECT_TRUE(std::isnan(sum_exp(row.data(), 37, 1.0f, 0.5f))) << at;
  }
}

TEST(FastMath, TheMaximumIsANumber) {
  std::vector<float> row(37, std::nanf(""));
  EXPECT_EQ(maximum(row.data(), 37), -kInfinity);
  row[20] = -3.0f;
  EXPECT_EQ(maximum(row.data(), 37), -3.0f);
  EXPECT_EQ(maximum(row.data(), 0), -kInfinity);
}

}  // namespace
}  // namespace attar
