// When requests may be sent, by threads that share an endpoint: so many a minute, and none while it asks to wait.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <mutex>

namespace attar {

class Pace {
 public:
  using Clock = std::chrono::steady_clock;

  explicit Pace(int64_t requests_per_minute);  // 0: as fast as they come

  // Returns when it is the caller's turn. `tick` is called every few hundredths of a second; what it throws comes out.
  void wait(const std::function<void()>& tick);
  // Nobody's turn comes before `seconds` from now, and those that waited come one after another.
  void hold(double seconds);

 private:
  Clock::time_point turn();  // with the mutex held

  std::mutex mutex_;
  Clock::duration between_;
  Clock::time_point next_ = Clock::now(), held_until_ = next_;
};

// Waits, and calls `tick` meanwhile.
void pause_for(double seconds, const std::function<void()>& tick);

}  // namespace attar
