#include "distill/alignment/chunk_loss.h"

#include <gtest/gtest.h>

#include <cmath>

#include "runtime/base/random.h"

namespace attar {
namespace {

TEST(ChunkLoss, ByHand) {
  // p = 1/2, q = 1/4: 1/2 log 2 + 1/2 log(2/3); slope (q - p) / (1 - q) = -1/3
  const ChunkLoss plain = chunk_loss(std::log(0.5), std::log(0.25), 1.0);
  EXPECT_NEAR(plain.value, 0.5 * std::log(4.0 / 3.0), 1e-15);
  EXPECT_NEAR(plain.slope, -1.0 / 3.0, 1e-15);
  // Of square roots: p = 1/4 -> 1/2, q = 1/16 -> 1/4
  const ChunkLoss softened = chunk_loss(std::log(0.25), std::log(1.0 / 16.0), 2.0);
  EXPECT_NEAR(softened.value, std::log(4.0 / 3.0), 1e-15);
  EXPECT_NEAR(softened.slope, -1.0 / 3.0, 1e-15);
  // p = q^(1/2), so the student is to halve its log-likelihood
  EXPECT_NEAR(chunk_loss(-2.0, -4.0, 1e6).slope, -0.5, 1e-5);
  EXPECT_NEAR(chunk_loss(-4.0, -2.0, 1e6).slope, 1.0, 1e-5);
}

double definition(double log_p, double log_q, double t) {
  const long double p = std::exp(static_cast<long double>(log_p) / t),
                    q = std::exp(static_cast<long double>(log_q) / t);
  return static_cast<double>(t * (p * std::log(p / q) + (1 - p) * std::log((1 - p) / (1 - q))));
}

TEST(ChunkLoss, IsItsDefinitionAndItsSlopeADifference) {
  const CounterRandom random(3);
  for (uint64_t i = 0; i < 3000; i += 3) {
    const double log_p = -std::exp(14.0 * random.uniform(i) - 7.0),
                 log_q = -std::exp(14.0 * random.uniform(i + 1) - 7.0);
    for (const double t : {1.0, 7.0, 100.0}) {
      const ChunkLoss loss = chunk_loss(log_p, log_q, t);
      EXPECT_NEAR(loss.value, definition(log_p, log_q, t), 1e-9 + 1e-9 * loss.value) << log_p << " " << log_q;
      const double step = 1e-5 * -log_q;
      const double difference =
          (chunk_loss(log_p, log_q + step, t).value - chunk_loss(log_p, log_q - step, t).value) / (2.0 * step);
      EXPECT_NEAR(loss.slope, difference, 1e-6 + 1e-6 * std::abs(difference)) << log_p << " " << log_q << " " << t;
    }
  }
}

TEST(ChunkLoss, IsZeroWhereBothAreAlikeAndFiniteWhereOneIsSure) {
  for (const double t : {1.0, 100.0}) {
    for (const double log_p : {-1e-9, -1.0, -800.0}) {
      EXPECT_EQ(chunk_loss(log_p, log_p, t).value, 0.0);
      EXPECT_EQ(chunk_loss(log_p, log_p, t).slope, 0.0);
    }
    for (const auto& [log_p, log_q] : {std::pair(0.0, -1e5), {-1e5, 0.0}, {0.0, 0.0}, {-HUGE_VAL, -1.0}}) {
      const ChunkLoss loss = chunk_loss(log_p, log_q, t);
      EXPECT_TRUE(std::isfinite(loss.value) && std::isfinite(loss.slope) && loss.value >= 0.0) << log_p << " " << log_q;
    }
  }
  EXPECT_TRUE(std::isnan(chunk_loss(std::nan(""), -1.0, 1.0).value));
  EXPECT_TRUE(std::isnan(chunk_loss(-1.0, std::nan(""), 1.0).slope));
}

}  // namespace
}  // namespace attar
