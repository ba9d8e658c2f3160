// One piece of work on a thread of its own, while the caller goes on.
#pragma once

#include <functional>
#include <future>
#include <thread>

namespace attar {

class BackgroundWork {
 public:
  // work(passed) calls `passed` once, when it is beyond what the caller has to wait for.
  explicit BackgroundWork(std::function<void(const std::function<void()>& passed)> work);
  ~BackgroundWork();  // waits for the end
  BackgroundWork(const BackgroundWork&) = delete;
  BackgroundWork& operator=(const BackgroundWork&) = delete;

  bool is_done() const;      // or has failed
  void wait_until_passed();  // rethrows what the work has thrown before
  void wait();               // to the end; rethrows what it has thrown

 private:
  std::promise<void> passes_, ends_;
  std::shared_future<void> passed_, ended_;
  std::thread thread_;
};

}  // namespace attar
