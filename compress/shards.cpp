#include "compress/shards.h"

#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <ATen/ops/cos.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/ones.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

#include "runtime/base/host/cpu.h"
#include "runtime/base/host/float_environment.h"
#include "runtime/base/host/worker_thread.h"

namespace attar {
namespace {

// MKL sets itself up in its first calls: those are made before threads could make them side by side. A second thread
// that asks for its first cosine, root or exponential while the first one sets up takes the functions of another
// processor and of low accuracy (7e-9 in f64), if it does not crash: oneMKL 2024.2, PyTorch issue 188792.
void settle_mkl() {
  static const bool settled = [] {
    for (const auto kind : {at::kFloat, at::kDouble}) {
      const at::Tensor ones = at::ones({8, 8}, kind);
      at::cos(at::mm(ones, ones));
    }
    return true;
  }();
  static_cast<void>(settled);
}

// Where MKL would leave AVX-512 unused, oneDNN multiplies in its stead while anybody holds this. LibTorch asks it only
// where bf16 would do; without AMX it keeps to f32 all the same (shards_test holds the error).
class OneDnnProducts {
 public:
  void hold() {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (holders_++ > 0 || !wanted_) return;
    before_ = at::globalContext().float32Precision(kBackend, kOp);
    at::globalContext().setFloat32Precision(kBackend, kOp, at::Float32Precision::BF16);
  }
  void release() {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (--holders_ == 0 && wanted_) at::globalContext().setFloat32Precision(kBackend, kOp, before_);
  }

 private:
  static constexpr auto kBackend = at::Float32Backend::MKLDNN;
  static constexpr auto kOp = at::Float32Op::MATMUL;
  const bool wanted_ = multiplies_with_onednn();
  std::mutex mutex_;
  int holders_ = 0;
  at::Float32Precision before_{};
};
OneDnnProducts& products() {
  static OneDnnProducts one;
  return one;
}

}  // namespace

OwnKernels::OwnKernels() : before_(at::get_num_threads()) {
  at::set_num_threads(1);
  settle_mkl();
  products().hold();
}
OwnKernels::~OwnKernels() {
  products().release();
  at::set_num_threads(before_);
}

// MKL takes the AVX2 kernels on processors of other makers than Intel.
bool multiplies_with_onednn() {
#if defined(__x86_64__)
  return cpu_features().avx512 && !__builtin_cpu_is("intel");
#else
  return false;
#endif
}

void prepare_libtorch() {
  ::setenv("MKL_CBWR", "AUTO,STRICT", 0);
  // Not 1024: in training there is one for each length of text, 0.3 to 0.5 GB in the tiny recipe, no slower without.
  ::setenv("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "64", 0);
  // LibTorch keeps what oneDNN prepares a second time, for each thread: 0.4 GB in a walk over texts of all lengths.
  ::setenv("LRU_CACHE_CAPACITY", "64", 0);
  // Gradients come anew each step: of `quantize --preset learned` (SmolLM2, 6,144 tokens) 23 s went into the system
  // with small pages, 13 s with large ones.
  ::setenv("THP_MEM_ALLOC_ENABLE", "1", 0);
}

void run_shards(int64_t n_parts, int threads, const std::function<void(int64_t)>& work,
                const std::function<void()>& between) {
  const OwnKernels own_kernels;
  std::atomic<int64_t> next{0};
  std::exception_ptr failure;
  std::mutex failure_mutex;
  const bool records = c10::GradMode::is_enabled();  // per thread: workers follow the caller
  const auto run = [&](const std::function<void()>& ask) {
    const FloatEnvironment floats;
    at::set_num_threads(1);
    const c10::AutoGradMode mode(records);
    for (int64_t part = next++; part < n_parts; part = next++) {
      try {
        if (ask) ask();
        work(part);
      } catch (...) {
        const std::lock_guard<std::mutex> lock(failure_mutex);
        if (!failure) failure = std::current_exception();
        next = n_parts;
      }
    }
  };
  std::vector<std::thread> workers;
  const int64_t others = std::min<int64_t>(threads, n_parts) - 1;
  const auto join = [&] {
    for (std::thread& worker : workers) worker.join();
  };
  try {
    for (int64_t i = 0; i < others; ++i) workers.push_back(worker_thread([&] { run({}); }));
  } catch (...) {  // no more threads, or no memory for them
    next = n_parts;
    join();
    throw;
  }
  run(between);
  join();
  if (failure) std::rethrow_exception(failure);
}

Team::Team(int threads) : pool_(threads) {
  pool_.run([](int) { at::set_num_threads(1); });
}

void Team::run(int64_t n_parts, const std::function<void(int64_t)>& work) {
  std::atomic<int64_t> next{0};
  pool_.run([&](int) {
    const FloatEnvironment floats;
    const c10::NoGradGuard no_grad;
    try {
      for (int64_t part = next++; part < n_parts; part = next++) work(part);
    } catch (...) {
      next = n_parts;
      throw;
    }
  });
}

void Team::rows(int64_t n, const std::function<void(int64_t, int64_t)>& work) {
  run((n + kRows - 1) / kRows, [&](int64_t part) { work(part * kRows, std::min(n, (part + 1) * kRows)); });
}

}  // namespace attar
