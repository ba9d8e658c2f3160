#include "runtime/base/host/background_work.h"

#include <chrono>
#include <exception>
#include <utility>

#include "runtime/base/host/worker_thread.h"

namespace attar {

BackgroundWork::BackgroundWork(std::function<void(const std::function<void()>& passed)> work)
    : passed_(passes_.get_future()), ended_(ends_.get_future()) {
  thread_ = worker_thread([this, work = std::move(work)] {
    bool passed = false;
    try {
      work([&] {
        passed = true;
        passes_.set_value();
      });
      if (!passed) passes_.set_value();
      ends_.set_value();
    } catch (...) {
      if (!passed) passes_.set_exception(std::current_exception());
      ends_.set_exception(std::current_exception());
    }
  });
}

BackgroundWork::~BackgroundWork() {
  thread_.join();
}

bool BackgroundWork::is_done() const {
  return ended_.wait_for(std::chrono::seconds(0)) == std::future_status::ready;
}

void BackgroundWork::wait_until_passed() {
  passed_.get();
}

void BackgroundWork::wait() {
  ended_.get();
}

}  // namespace attar
