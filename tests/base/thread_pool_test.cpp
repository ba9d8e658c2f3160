// ThreadPool: every thread runs, barriers separate phases, exceptions come back, also past a barrier.
#include "runtime/base/host/thread_pool.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <stdexcept>
#include <thread>
#include <vector>

#include "runtime/base/error.h"

namespace attar {
namespace {

TEST(ThreadPool, RunsEveryThreadOnce) {
  for (const int n : {1, 2, 3, 7}) {
    ThreadPool pool(n);
    EXPECT_EQ(pool.size(), n);
    std::vector<std::atomic<int>> seen(static_cast<size_t>(n));
    for (int i = 0; i < 50; ++i) pool.run([&](int t) { ++seen[static_cast<size_t>(t)]; });
    for (const auto& count : seen) EXPECT_EQ(count.load(), 50);
  }
}

TEST(ThreadPool, BarrierSeparatesPhases) {
  for (const int n : {1, 2, 3, 5}) {
    ThreadPool pool(n);
    constexpr int kPhases = 300;
    std::vector<std::atomic<int>> arrived(kPhases);
    std::atomic<int> too_early{0};
    pool.run([&](int) {
      for (std::atomic<int>& phase : arrived) {
        ++phase;
        pool.barrier();
        if (phase.load() != n) ++too_early;
      }
    });
    EXPECT_EQ(too_early.load(), 0) << n << " threads";
  }
}

// Some runs leave threads out, which neither compute nor hold up barriers, and come back for the next.
TEST(ThreadPool, RunsOnTheFirstThreads) {
  ThreadPool pool(4);
  for (int round = 0; round < 200; ++round)
    for (const int n : {4, 1, 2, 3, 9, 1}) {
      std::vector<std::atomic<int>> seen(4);
      std::atomic<int> met{0}, too_early{0};
      pool.run(
          [&](int t) {
            ++seen[static_cast<size_t>(t)];
            ++met;
            pool.barrier();
            if (met.load() != std::min(n, 4)) ++too_early;
          },
          n);
      EXPECT_EQ(too_early.load(), 0);
      for (int t = 0; t < 4; ++t) EXPECT_EQ(seen[static_cast<size_t>(t)].load(), t < n ? 1 : 0) << n;
    }
}

TEST(ThreadPool, WakesSleepers) {
  ThreadPool pool(2);
  for (int i = 0; i < 5; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(2));  // the worker sleeps by now
    std::atomic<int> count{0};
    pool.run([&](int t) {
      if (t == 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));  // and waits asleep at the barrier
      pool.barrier();
      ++count;
    });
    EXPECT_EQ(count.load(), 2);
  }
}

TEST(ThreadPool, RethrowsAndReleasesThoseWhoWait) {
  for (const int failing : {0, 1, 2}) {
    ThreadPool pool(3);
    EXPECT_THROW(pool.run([&](int t) {
      if (t == failing) throw std::runtime_error("broken");
      for (int i = 0; i < 3; ++i) pool.barrier();
    }),
                 std::runtime_error);
    std::atomic<int> count{0};  // and the pool still works
    pool.run([&](int) {
      pool.barrier();
      ++count;
    });
    EXPECT_EQ(count.load(), 3);
  }
}

TEST(ThreadPool, RefusesNoThreads) {
  EXPECT_THROW(ThreadPool(0), Error);
}

// The system gives no more threads: here because their stacks do not fit into the address space.
[[noreturn]] void start_too_many() {
  const struct rlimit limit { uint64_t{1} << 30, uint64_t{1} << 30 };
  ::setrlimit(RLIMIT_AS, &limit);
  try {
    const ThreadPool pool(1000);
  } catch (const Error& error) {
    ::_exit(error.exit_code());
  }
  ::_exit(0);
}

TEST(ThreadPoolDeathTest, SaysWhenTheSystemStartsNoMoreThreads) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "the sanitizer needs the address space";
#endif
  EXPECT_EXIT(start_too_many(), ::testing::ExitedWithCode(static_cast<int>(ErrorKind::Resources)), "");
}

}  // namespace
}  // namespace attar
