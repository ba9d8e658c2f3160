#include "recipes/endpoint/pace.h"

#include <gtest/gtest.h>

#include <thread>
#include <vector>

namespace attar {
namespace {

double seconds_since(Pace::Clock::time_point start) {
  return std::chrono::duration<double>(Pace::Clock::now() - start).count();
}

// The fourth of four turns that are 50 ms apart, after so much in which nobody's comes.
double last_of_four(Pace& pace, double held_s) {
  const Pace::Clock::time_point start = Pace::Clock::now();
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) threads.emplace_back([&] { pace.wait([] {}); });
  if (held_s > 0.0) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));  // some have their turns already
    pace.hold(held_s);
  }
  for (std::thread& thread : threads) thread.join();
  return seconds_since(start);
}

TEST(Pace, SpacesTurns) {
  Pace pace(1200);
  EXPECT_GE(last_of_four(pace, 0.0), 0.14);
}

// As many requests at once as waited together would be refused again.
TEST(Pace, SpacesTheTurnsOfThoseThatWereHeld) {
  Pace pace(1200);
  pace.wait([] {});  // nobody goes before the hold
  EXPECT_GE(last_of_four(pace, 0.4), 0.53);
}

TEST(Pace, HoldsAllWithoutARate) {
  Pace pace(0);
  pace.hold(0.2);
  EXPECT_GE(last_of_four(pace, 0.0), 0.19);
}

}  // namespace
}  // namespace attar
