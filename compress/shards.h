// Work cut into fixed parts that run side by side, each with one LibTorch thread, so that no result depends on how many
// threads there are. (LibTorch's own threaded matrix products give other bits at other thread counts.)
#pragma once

#include <cstdint>
#include <functional>

#include "runtime/base/host/thread_pool.h"

namespace attar {

// While one lives, LibTorch computes with one thread on the thread that made it, then with as many as before; and where
// MKL would leave AVX-512 unused, oneDNN multiplies matrices in its stead (f32 as before, 2.2 times as fast on Zen 5).
// Every long call holds one: what it computes between its shards does not depend on the host either, and the host gets
// its settings back, also when the call throws.
class OwnKernels {
 public:
  OwnKernels();
  ~OwnKernels();
  OwnKernels(const OwnKernels&) = delete;
  OwnKernels& operator=(const OwnKernels&) = delete;

 private:
  int before_;
};

// Whether oneDNN multiplies on this processor.
bool multiplies_with_onednn();

// Calls work(part) for every part in [0, n_parts), at most `threads` at once. The first exception is rethrown. Parts
// write to places of their own; the caller adds them up in a fixed order. `between` is called by the caller's own
// thread in front of each part that it takes: there a long call reports, and what it throws when it is stopped ends the
// rest.
void run_shards(int64_t n_parts, int threads, const std::function<void(int64_t part)>& work,
                const std::function<void()>& between = {});

// Threads that stay, for many short pieces of work such as the products of a training step.
class Team {
 public:
  explicit Team(int threads);  // >= 1; the caller is one of them
  // Calls work(part) for every part in [0, n_parts), each with one LibTorch thread and without recording gradients.
  // What a part computes may not depend on which thread takes it. The first exception is rethrown. The caller holds an
  // OwnKernels.
  void run(int64_t n_parts, const std::function<void(int64_t part)>& work);
  // The same over rows [0, n), kRows at a time.
  static constexpr int64_t kRows = 32;
  void rows(int64_t n, const std::function<void(int64_t begin, int64_t end)>& work);

 private:
  ThreadPool pool_;
};

// For main() only, before anything is computed: LibTorch's matrix library takes the same kernels wherever the numbers
// lie (oneMKL developer guide, "Conditional Numerical Reproducibility"; no slower here), oneDNN keeps few of its own,
// and large tensors lie in large pages. That is so to the end of the process: a host that merely calls Attar decides
// for itself.
void prepare_libtorch();

}  // namespace attar
