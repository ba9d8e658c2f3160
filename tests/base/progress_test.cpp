// Where a run is among its stages.
#include "runtime/base/progress.h"

#include <gtest/gtest.h>

#include <chrono>
#include <thread>

namespace attar {
namespace {

TEST(StagePlace, SaysWhichStageAndHowLongTheOthersMayTake) {
  StagePlace place({0.5, 1.0, 3.0});
  Event seen;
  const Progress progress = place.watching([&](const Event& event) {
    seen = event;
    return Flow::GoOn;
  });
  place.enter(1);
  report(progress, {.stage = "prune", .unit = "layers", .done = 1, .total = 4});
  EXPECT_EQ(seen.stage, "prune");
  EXPECT_EQ(seen.part, 1);
  EXPECT_EQ(seen.parts, 3);
  EXPECT_EQ(seen.later_s, 0.0) << "nothing has told yet how fast this machine is";
  std::this_thread::sleep_for(std::chrono::milliseconds(1100));
  place.enter(2);
  report(progress, {.stage = "distill", .unit = "tokens"});
  EXPECT_EQ(seen.part, 2);
  EXPECT_NEAR(seen.later_s, 3.0 * 1.1 / 0.5, 2.0) << "the first took more than twice its estimate";
  place.enter(3);
  report(progress, {.stage = "quantize", .unit = "tensors"});
  EXPECT_EQ(seen.later_s, 0.0) << "no stage comes after the last";
}

TEST(StagePlace, WithoutEstimatesEventsStayAsTheyAre) {
  StagePlace place({});
  Event seen;
  const Progress progress = place.watching([&](const Event& event) {
    seen = event;
    return Flow::GoOn;
  });
  place.enter(1);
  report(progress, {.stage = "prune", .unit = "layers"});
  EXPECT_EQ(seen.parts, 0);
  EXPECT_FALSE(place.watching({}));
}

}  // namespace
}  // namespace attar
