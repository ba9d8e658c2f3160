#include "runtime/base/host/background_work.h"

#include <gtest/gtest.h>

#include <atomic>
#include <future>
#include <stdexcept>

namespace attar {
namespace {

// The work goes past one gate after the other, as the test opens them.
TEST(BackgroundWork, WaitsForAsMuchAsIsAsked) {
  std::promise<void> first, second;
  std::atomic<int> at{0};
  BackgroundWork work([&](const std::function<void()>& passed) {
    first.get_future().wait();
    at = 1;
    passed();
    second.get_future().wait();
    at = 2;
  });
  EXPECT_FALSE(work.is_done());
  first.set_value();
  work.wait_until_passed();
  EXPECT_EQ(at, 1);
  work.wait_until_passed();
  EXPECT_FALSE(work.is_done());
  second.set_value();
  work.wait();
  EXPECT_EQ(at, 2);
  EXPECT_TRUE(work.is_done());
}

TEST(BackgroundWork, FailuresReachWhoWaits) {
  BackgroundWork early([](const std::function<void()>&) { throw std::runtime_error("early"); });
  EXPECT_THROW(early.wait_until_passed(), std::runtime_error);
  EXPECT_THROW(early.wait(), std::runtime_error);
  BackgroundWork late([](const std::function<void()>& passed) {
    passed();
    throw std::runtime_error("late");
  });
  EXPECT_NO_THROW(late.wait_until_passed());
  EXPECT_THROW(late.wait(), std::runtime_error);
  EXPECT_TRUE(late.is_done());
  const BackgroundWork unheard([](const std::function<void()>&) { throw std::runtime_error("unheard"); });
}

TEST(BackgroundWork, ItsEndIsPastEverything) {
  BackgroundWork work([](const std::function<void()>&) {});
  EXPECT_NO_THROW(work.wait_until_passed());
}

}  // namespace
}  // namespace attar
