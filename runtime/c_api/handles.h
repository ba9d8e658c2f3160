// Handles of the C library: numbers in a pointer's clothes, which are looked up and never followed. None is given
// twice, so one that was taken back, or was never given, is known for what it is. (A table beside the objects, and so
// the one thing here that all callers share: freed memory cannot be asked whether it is a model.)
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <utility>

#include "runtime/base/error.h"

namespace attar::c_api {

inline std::atomic<uintptr_t> last_handle{0};  // of all kinds

template <class Handle, class Object>
class Handles {
 public:
  explicit Handles(const char* name) : name_(name) {}

  Handle* add(std::shared_ptr<Object> object) {
    const uintptr_t number = ++last_handle;
    const std::lock_guard lock(mutex_);
    objects_.emplace(number, std::move(object));
    return reinterpret_cast<Handle*>(number);
  }
  // Error{Usage}: NULL, closed, or of another kind.
  std::shared_ptr<Object> at(const Handle* handle) {
    const std::lock_guard lock(mutex_);
    return find(handle)->second;
  }
  void remove(const Handle* handle) {
    std::shared_ptr<Object> last;  // goes behind the lock: what it holds may take long to let go
    const std::lock_guard lock(mutex_);
    const auto found = find(handle);
    last = std::move(found->second);
    objects_.erase(found);
  }

 private:
  typename std::map<uintptr_t, std::shared_ptr<Object>>::iterator find(const Handle* handle) {
    if (handle == nullptr) throw usage_error(name_, "is NULL");
    const auto found = objects_.find(reinterpret_cast<uintptr_t>(handle));
    if (found == objects_.end()) throw usage_error(name_, "is closed, or never was one");
    return found;
  }

  const char* name_;
  std::mutex mutex_;
  std::map<uintptr_t, std::shared_ptr<Object>> objects_;
};

}  // namespace attar::c_api
