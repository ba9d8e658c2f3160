// A barrier that spins for some microseconds and then sleeps on a futex (std::atomic::wait). Spinning only pays when
// every thread has a core of its own. With more threads than cores, waiting goes straight to sleep, so that the thread
// waited for can run; after waits that kept outlasting the spin (another process wants the cores) it nearly does, and
// now and then tries a whole spin again.
#include "runtime/base/host/thread_pool.h"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <exception>
#include <mutex>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "runtime/base/error.h"
#include "runtime/base/host/cpu_limits.h"
#include "runtime/base/host/float_environment.h"
#include "runtime/base/host/worker_thread.h"

namespace attar {
namespace {

constexpr std::chrono::microseconds kSpin{20};      // a decode phase of a small model ends within a few of these
constexpr std::chrono::microseconds kShortSpin{1};  // once spinning was seen to fail
constexpr int kFailedSpinsUntilShort = 64;          // waits in a row that outlasted the spin
constexpr int kWaitsUntilRetry = 16;                // every so many short spins, a whole one
constexpr uint32_t kCountBits = 14;                 // of a number of threads, in State::started
constexpr uint32_t kCountMask = (1 << kCountBits) - 1;
static_assert(kMostThreads <= kCountMask);

void relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

struct Abandoned {};  // thrown in the threads that wait for one that failed

}  // namespace

struct ThreadPool::State {
  explicit State(int n) : n_threads(n), may_spin(n <= cpu_limits().spinning_threads()) {}

  // Waits until word != old.
  void wait_while(const std::atomic<uint32_t>& word, uint32_t old) {
    const int outlasted = failed_spins.load(std::memory_order_relaxed);
    const bool brief = outlasted >= kFailedSpinsUntilShort && outlasted % kWaitsUntilRetry != 0;
    if (may_spin && spin_while(word, old, brief ? kShortSpin : kSpin)) {
      if (!brief && outlasted != 0) failed_spins.store(0, std::memory_order_relaxed);
      return;
    }
    const int next = outlasted + 1;
    failed_spins.store(next < 2 * kFailedSpinsUntilShort ? next : kFailedSpinsUntilShort, std::memory_order_relaxed);
    while (word.load(std::memory_order_acquire) == old) word.wait(old, std::memory_order_acquire);
  }

  static bool spin_while(const std::atomic<uint32_t>& word, uint32_t old, std::chrono::microseconds budget) {
    const auto end = std::chrono::steady_clock::now() + budget;
    do {
      for (int i = 0; i < 64; ++i) {
        if (word.load(std::memory_order_acquire) != old) return true;
        relax();
      }
    } while (std::chrono::steady_clock::now() < end);
    return false;
  }

  void meet() {
    const uint32_t old = phase.load(std::memory_order_acquire);
    if (failed.load(std::memory_order_acquire)) throw Abandoned{};
    if (arrived.fetch_add(1, std::memory_order_acq_rel) + 1 == team) {
      arrived.store(0, std::memory_order_relaxed);
      phase.fetch_add(1, std::memory_order_release);
      phase.notify_all();
      return;
    }
    wait_while(phase, old);
    if (failed.load(std::memory_order_acquire)) throw Abandoned{};
  }

  // One thread's share of a run(); keeps the first exception and releases whoever waits at a barrier.
  void work_on(int thread) {
    try {
      (*work)(thread);
    } catch (const Abandoned&) {
    } catch (...) {
      {
        const std::lock_guard lock(error_mutex);
        if (!error) error = std::current_exception();
      }
      failed.store(true, std::memory_order_release);
      phase.fetch_add(1, std::memory_order_release);
      phase.notify_all();
    }
  }

  void serve(int thread) {
    uint32_t seen = 0;
    for (;;) {
      wait_while(started, seen);
      seen = started.load(std::memory_order_acquire);
      if (stopping.load(std::memory_order_acquire)) return;
      if (thread >= static_cast<int>(seen & kCountMask)) continue;  // not in this one
      work_on(thread);
      if (unfinished.fetch_sub(1, std::memory_order_acq_rel) == 1) {
        finished.fetch_add(1, std::memory_order_release);
        finished.notify_one();
      }
    }
  }

  void stop() {
    stopping.store(true, std::memory_order_release);
    begin(1);
    for (std::thread& worker : workers) worker.join();
  }

  // Wakes the workers for a run() of so many threads.
  void begin(int n) {
    const uint32_t before = started.load(std::memory_order_relaxed) >> kCountBits;
    started.store((before + 1) << kCountBits | static_cast<uint32_t>(n), std::memory_order_release);
    started.notify_all();
  }

  bool is_of_this_process() const { return process == ::getpid(); }

  const int n_threads;
  const bool may_spin;
  const pid_t process = ::getpid();
  std::atomic<bool> busy{false};  // inside run()
  const std::function<void(int)>* work = nullptr;
  int team = 1;                                   // threads of the current run()
  alignas(64) std::atomic<uint32_t> started{0};   // counts run() calls, above the number of threads of the last
  alignas(64) std::atomic<uint32_t> finished{0};  // counts completed run() calls
  std::atomic<int> unfinished{0};                 // workers still inside the current run()
  alignas(64) std::atomic<uint32_t> phase{0};     // counts barriers
  alignas(64) std::atomic<int> arrived{0};
  std::atomic<bool> failed{false};
  std::atomic<bool> stopping{false};
  alignas(64) std::atomic<int> failed_spins{0};
  std::mutex error_mutex;
  std::exception_ptr error;
  std::vector<std::thread> workers;
};

std::unique_ptr<ThreadPool::State> ThreadPool::start(int n_threads) {
  auto started = std::make_unique<State>(n_threads);
  State* state = started.get();
  state->workers.reserve(static_cast<size_t>(n_threads - 1));
  try {
    for (int t = 1; t < n_threads; ++t) state->workers.push_back(worker_thread([state, t] { state->serve(t); }));
  } catch (const std::system_error&) {
    const std::string count = std::to_string(state->workers.size() + 1);
    state->stop();
    throw Error(ErrorKind::Resources, {.where = "threads",
                                       .what = "the system starts no more of them",
                                       .expected = std::to_string(n_threads),
                                       .got = count,
                                       .hint = "ask for fewer with --threads"});
  } catch (...) {
    state->stop();
    throw;
  }
  return started;
}

ThreadPool::ThreadPool(int n_threads) {
  if (n_threads < 1 || n_threads > kMostThreads)
    throw usage_error("threads", "there must be at least one", "1 to " + std::to_string(kMostThreads),
                      std::to_string(n_threads));
  state_ = start(n_threads);
}

ThreadPool::~ThreadPool() {
  if (state_->is_of_this_process())
    state_->stop();
  else
    static_cast<void>(state_.release());  // its workers cannot be joined from here
}

int ThreadPool::size() const {
  return state_->n_threads;
}

void ThreadPool::run(const std::function<void(int thread)>& work, int n_threads) {
  if (!state_->is_of_this_process()) {
    std::unique_ptr<State> own = start(state_->n_threads);
    static_cast<void>(state_.release());
    state_ = std::move(own);
  }
  State& s = *state_;
  if (s.busy.exchange(true, std::memory_order_acquire))
    throw usage_error("threads", "are at work for another call", "one call at a time for each model and pool");
  const FloatEnvironment floats;
  s.team = n_threads == 0 ? s.n_threads : std::min(n_threads, s.n_threads);
  s.work = &work;
  s.error = nullptr;
  s.failed.store(false, std::memory_order_relaxed);
  s.arrived.store(0, std::memory_order_relaxed);
  const uint32_t done_before = s.finished.load(std::memory_order_acquire);
  if (s.team > 1) {
    s.unfinished.store(s.team - 1, std::memory_order_relaxed);
    s.begin(s.team);
  }
  s.work_on(0);
  if (s.team > 1) s.wait_while(s.finished, done_before);
  const std::exception_ptr error = std::exchange(s.error, nullptr);
  s.busy.store(false, std::memory_order_release);
  if (error) std::rethrow_exception(error);
}

void ThreadPool::barrier() {
  if (state_->team > 1) state_->meet();
}

}  // namespace attar
