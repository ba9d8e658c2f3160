#include "distill/spike_guard.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace attar {
namespace {

const double kNan = std::nan(""), kInfinity = std::numeric_limits<double>::infinity();

std::vector<TrainStep> steps(int64_t count, double loss, double norm, bool skipped = false) {
  return std::vector<TrainStep>(static_cast<size_t>(count), {.loss = loss, .gradient_norm = norm, .skipped = skipped});
}
std::vector<TrainStep> joined(std::vector<TrainStep> a, const std::vector<TrainStep>& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

TEST(SpikeGuard, ComparesWithTheMedian) {
  std::vector<TrainStep> history = steps(20, 2.0, 0.5);
  history[7].loss = 1000.0;  // no mean could still tell
  EXPECT_EQ(judge_step(history, 6.0, 1.5, 3.0), StepVerdict::Take);
  EXPECT_EQ(judge_step(history, 6.1, 0.5, 3.0), StepVerdict::Skip);
  EXPECT_EQ(judge_step(history, 2.0, 1.6, 3.0), StepVerdict::Skip);
  EXPECT_EQ(judge_step(history, 1e9, 1e9, 0.0), StepVerdict::Take);
}

TEST(SpikeGuard, WaitsUntilItKnowsWhatIsUsual) {
  EXPECT_EQ(judge_step(steps(kFewestUsual - 1, 1.0, 1.0), 100.0, 1.0, 3.0), StepVerdict::Take);
  EXPECT_EQ(judge_step(steps(kFewestUsual, 1.0, 1.0), 100.0, 1.0, 3.0), StepVerdict::Skip);
}

TEST(SpikeGuard, LooksNoFurtherBackThanItsWindow) {
  const auto history = joined(steps(1000, 100.0, 1.0), steps(kSpikeWindow, 1.0, 1.0));
  EXPECT_EQ(judge_step(history, 5.0, 1.0, 3.0), StepVerdict::Skip);
}

TEST(SpikeGuard, WhatStaysIsNoSpike) {
  auto history = joined(steps(30, 1.0, 1.0), steps(kMostSpikes - 1, 50.0, 1.0, true));
  EXPECT_EQ(judge_step(history, 50.0, 1.0, 3.0), StepVerdict::Skip);
  history = joined(history, steps(1, 50.0, 1.0, true));
  EXPECT_EQ(judge_step(history, 50.0, 1.0, 3.0), StepVerdict::Take);
  history = joined(history, steps(1, 50.0, 1.0));
  EXPECT_EQ(judge_step(history, 50.0, 1.0, 3.0), StepVerdict::Take) << "what was before the row is forgotten";
}

TEST(SpikeGuard, AUsualZeroHasNoSpikes) {
  EXPECT_EQ(judge_step(steps(30, 1.0, 0.0), 1.0, 1e-9, 2.0), StepVerdict::Take);
}

TEST(SpikeGuard, AFewThatAreNotFiniteAreSkippedARowOfThemStops) {
  std::vector<TrainStep> history;
  for (int64_t i = 0; i + 1 < kMostNotFinite; ++i) {
    EXPECT_EQ(judge_step(history, kNan, 1.0, 0.0), StepVerdict::Skip);
    EXPECT_EQ(judge_step(history, 1.0, kInfinity, 5.0), StepVerdict::Skip);
    history = joined(history, steps(1, kNan, kNan, true));
  }
  EXPECT_EQ(not_finite_in_a_row(history), kMostNotFinite - 1);
  EXPECT_EQ(judge_step(history, kNan, 1.0, 0.0), StepVerdict::Stop);
  EXPECT_EQ(judge_step(history, 1.0, 1.0, 0.0), StepVerdict::Take);
  EXPECT_EQ(judge_step(joined(history, steps(1, 1.0, 1.0)), kNan, 1.0, 0.0), StepVerdict::Skip) << "not in a row";
}

}  // namespace
}  // namespace attar
