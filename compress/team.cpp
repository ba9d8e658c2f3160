#include "compress/team.h"

#include <ATen/Parallel.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <atomic>

#include "runtime/base/host/float_environment.h"

namespace attar {

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
