// Threads that stay for many short pieces of LibTorch work, such as the products of a training step.
#pragma once

#include <cstdint>
#include <functional>

#include "runtime/base/host/thread_pool.h"

namespace attar {

class Team {
 public:
  explicit Team(int threads);  // >= 1; the caller is one of them
  // Calls work(part) for every part in [0, n_parts), each with one LibTorch thread and without recording gradients.
  // What a part computes may not depend on which thread takes it. The first exception is rethrown. The caller holds an
  // OwnKernels (shards.h).
  void run(int64_t n_parts, const std::function<void(int64_t part)>& work);
  // The same over rows [0, n), kRows at a time.
  static constexpr int64_t kRows = 32;
  void rows(int64_t n, const std::function<void(int64_t begin, int64_t end)>& work);

 private:
  ThreadPool pool_;
};

}  // namespace attar
