#include "recipes/endpoint/pace.h"

#include <algorithm>
#include <optional>
#include <thread>

namespace attar {
namespace {

constexpr std::chrono::milliseconds kTick{20};

Pace::Clock::duration of_seconds(double seconds) {
  return std::chrono::duration_cast<Pace::Clock::duration>(std::chrono::duration<double>(seconds));
}

}  // namespace

Pace::Pace(int64_t requests_per_minute)
    : between_(requests_per_minute > 0 ? of_seconds(60.0 / static_cast<double>(requests_per_minute))
                                       : Clock::duration::zero()) {}

Pace::Clock::time_point Pace::turn() {
  const Clock::time_point mine = std::max({next_, held_until_, Clock::now()});
  next_ = mine + between_;
  return mine;
}

void Pace::wait(const std::function<void()>& tick) {
  std::optional<Clock::time_point> mine;
  const auto is_early = [&] {
    const std::lock_guard lock(mutex_);
    if (!mine || *mine < held_until_) mine = turn();  // another one, where all have been asked to wait since
    return Clock::now() < *mine;
  };
  for (tick(); is_early(); tick()) std::this_thread::sleep_for(kTick);
}

void Pace::hold(double seconds) {
  const std::lock_guard lock(mutex_);
  held_until_ = std::max(held_until_, Clock::now() + of_seconds(seconds));
}

void pause_for(double seconds, const std::function<void()>& tick) {
  for (const auto until = Pace::Clock::now() + of_seconds(seconds); Pace::Clock::now() < until; tick())
    std::this_thread::sleep_for(kTick);
}

}  // namespace attar
