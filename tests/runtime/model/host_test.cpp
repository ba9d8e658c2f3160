// A process that is not ours: it forks, takes signals, and has float settings of its own.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cfenv>
#include <chrono>
#include <cstring>
#include <thread>
#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

#include "runtime/base/error.h"
#include "runtime/judge/score.h"
#include "runtime/model/model.h"
#include "runtime/text/generate.h"
#include "tests/runtime/spoken_model.h"
#include "tests/runtime/tiny_model.h"

namespace attar::runtime {
namespace {

class Host : public ::testing::Test {
 protected:
  Model load(Numerics numerics) { return Model::load(file_, {.numerics = numerics}, pool_); }
  // Logits of a prompt and of one token after another, as bits.
  std::vector<uint32_t> bits_of(const Model& model) {
    Workspace work(model, pool_);
    KvCache cache(model);
    std::vector<uint32_t> bits;
    const auto run = [&](std::span<const int32_t> tokens) {
      std::vector<Row> rows;
      for (const int32_t token : tokens) rows.push_back({&cache, token, true});
      forward(model, rows, work);
      for (size_t i = 0; i < rows.size(); ++i) {
        const auto logits = work.logits(static_cast<int64_t>(i));
        const size_t at = bits.size();
        bits.resize(at + logits.size());
        std::memcpy(bits.data() + at, logits.data(), logits.size_bytes());
      }
    };
    const std::vector<int32_t> prompt{1, 5, 9, 31, 2, 2, 7};
    run(prompt);
    for (const int32_t token : {3, 8}) run({&token, 1});
    return bits;
  }

  static constexpr TinyOptions kOptions{.family = Family::Gemma3, .matrix_type = TensorType::Q8_0};
  const ModelFile file_ = tiny_model(tiny_config(kOptions), kOptions);
  ThreadPool pool_{3};
};

#if !defined(__SANITIZE_THREAD__)  // which allows no threads after a fork
int exit_code_of_child(const std::function<int()>& work) {
  const pid_t child = ::fork();
  if (child == 0) {
    ::alarm(60);
    ::_exit(work());
  }
  int status = 0;
  EXPECT_EQ(::waitpid(child, &status, 0), child);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

TEST_F(Host, AForkedChildMayUseTheModel) {
  const Model model = load(Numerics::Deployed);
  const std::vector<uint32_t> expected = bits_of(model);
  const auto same = [&] { return bits_of(model) == expected ? 7 : 8; };
  EXPECT_EQ(exit_code_of_child(same), 7);
  EXPECT_EQ(exit_code_of_child([&] { return exit_code_of_child(same) == 7 ? same() : 9; }), 7);  // and its child
  EXPECT_EQ(bits_of(model), expected);  // the parent is as it was
}

TEST_F(Host, AForkedChildMayDropThePool) {
  auto pool = std::make_unique<ThreadPool>(4);
  pool->run([](int) {});
  const auto drop = [&] {
    pool.reset();
    return 7;
  };
  EXPECT_EQ(exit_code_of_child(drop), 7);
  EXPECT_EQ(exit_code_of_child([&] {
              std::atomic<int> threads{0};
              pool->run([&](int) { ++threads; });
              pool.reset();
              return threads.load();
            }),
            4);
}
#endif

std::atomic<int> signals_on_workers{0};
std::thread::id host_thread;

TEST_F(Host, WorkersTakeNoneOfItsSignals) {
  host_thread = std::this_thread::get_id();
  struct sigaction action {
  }, before{};
  action.sa_handler = [](int) {
    if (std::this_thread::get_id() != host_thread) ++signals_on_workers;
  };
  for (const int number : {SIGUSR1, SIGALRM, SIGTERM}) {
    ASSERT_EQ(::sigaction(number, &action, &before), 0);
    sigset_t blocked, mask;
    ::sigemptyset(&blocked);
    ::sigaddset(&blocked, number);
    ::pthread_sigmask(SIG_BLOCK, &blocked, &mask);  // so that only a worker could take it
    ThreadPool pool(3);
    pool.run([&](int thread) {
      sigset_t own;
      ::pthread_sigmask(SIG_BLOCK, nullptr, &own);
      if (thread == 0) return;
      EXPECT_EQ(::sigismember(&own, number), 1) << number;
      EXPECT_EQ(::sigismember(&own, SIGSEGV), 0);  // a fault of its own is not held back
    });
    ::kill(::getpid(), number);
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    EXPECT_EQ(signals_on_workers.load(), 0) << number;
    ::pthread_sigmask(SIG_SETMASK, &mask, nullptr);
    ::sigaction(number, &before, nullptr);
  }
}

// Nor does the thread that makes a tokenizer's tables while a model is loaded.
TEST_F(Host, LoadingTakesNoneOfItsSignals) {
  struct sigaction action {
  }, before{};
  action.sa_handler = [](int) {
    if (std::this_thread::get_id() != host_thread) ++signals_on_workers;
  };
  ASSERT_EQ(::sigaction(SIGUSR1, &action, &before), 0);
  signals_on_workers = 0;
  sigset_t number, mask;
  ::sigemptyset(&number);
  ::sigaddset(&number, SIGUSR1);
  ::pthread_sigmask(SIG_BLOCK, &number, &mask);  // so that the host's thread that loads takes it, or one of ours
  std::atomic<bool> begun{false}, done{false};
  std::thread loads([&] {
    host_thread = std::this_thread::get_id();
    ::pthread_sigmask(SIG_UNBLOCK, &number, nullptr);
    begun = true;
    for (int i = 0; i < 200; ++i) load(Numerics::Deployed);
    done = true;
  });
  while (!begun) std::this_thread::yield();
  while (!done) ::kill(::getpid(), SIGUSR1), std::this_thread::yield();
  loads.join();
  EXPECT_EQ(signals_on_workers.load(), 0);
  host_thread = std::this_thread::get_id();  // which takes what came last
  ::pthread_sigmask(SIG_SETMASK, &mask, nullptr);
  ::sigaction(SIGUSR1, &before, nullptr);
}

// The mask of the thread that starts workers comes back.
TEST_F(Host, KeepsItsSignalMask) {
  sigset_t before, after;
  ::pthread_sigmask(SIG_BLOCK, nullptr, &before);
  { ThreadPool pool(3); }
  ::pthread_sigmask(SIG_BLOCK, nullptr, &after);
  for (int number = 1; number < 32; ++number) EXPECT_EQ(::sigismember(&before, number), ::sigismember(&after, number));
}

TEST_F(Host, ItsRoundingChangesNoBit) {
  const Model model = load(Numerics::Deployed), exact = load(Numerics::Fp32);
  const std::vector<uint32_t> deployed = bits_of(model), fp32 = bits_of(exact);
  Workspace work(model, pool_);
  const std::vector<double> scores = score_tokens(model, std::vector<int32_t>{1, 2, 3, 4, 5}, work);
  for (const int rounding : {FE_UPWARD, FE_DOWNWARD, FE_TOWARDZERO}) {
    ASSERT_EQ(std::fesetround(rounding), 0);
    const Model loaded_here = load(Numerics::Deployed);
    EXPECT_EQ(bits_of(model), deployed) << rounding;
    EXPECT_EQ(bits_of(exact), fp32) << rounding;
    EXPECT_EQ(bits_of(loaded_here), deployed) << rounding;
    const std::vector<double> again = score_tokens(model, std::vector<int32_t>{1, 2, 3, 4, 5}, work);
    EXPECT_EQ(std::memcmp(again.data() + 1, scores.data() + 1, 4 * sizeof(double)), 0);
    EXPECT_EQ(std::fegetround(), rounding) << "the host's own comes back";
    std::fesetround(FE_TONEAREST);
  }
}

#if defined(__x86_64__) || defined(__aarch64__)
#if defined(__x86_64__)
constexpr uint64_t kFlush = 0x8040;  // FTZ and DAZ
uint64_t float_control() {
  return ::_mm_getcsr();
}
void set_float_control(uint64_t bits) {
  ::_mm_setcsr(static_cast<unsigned>(bits));
}
#else
constexpr uint64_t kFlush = 1u << 24;  // FZ
uint64_t float_control() {
  uint64_t bits = 0;
  asm volatile("mrs %0, fpcr" : "=r"(bits));
  return bits;
}
void set_float_control(uint64_t bits) {
  asm volatile("msr fpcr, %0" : : "r"(bits));
}
#endif

// Denormal numbers flushed to zero on the host's thread, and so on threads that it starts.
TEST_F(Host, ItsFlushedDenormalsChangeNoBit) {
  const uint64_t before = float_control();
  std::vector<float> tiny(64, 1e-39f);
  const auto sums = [&] {
    ThreadPool pool(2);
    std::vector<float> out(2);
    pool.run([&](int thread) {
      volatile float sum = 0.0f;
      for (const float x : tiny) sum = sum + x;
      out[static_cast<size_t>(thread)] = sum;
    });
    return out;
  };
  const std::vector<float> expected = sums();
  EXPECT_GT(expected[0], 0.0f);
  set_float_control(before | kFlush);
  const std::vector<float> flushed = sums();
  const uint64_t after = float_control();
  set_float_control(before);
  EXPECT_EQ(std::memcmp(flushed.data(), expected.data(), 8), 0);
  EXPECT_EQ(after & kFlush, kFlush) << "the host's own come back";
}
#endif

TEST_F(Host, APoolServesOneCallAtATime) {
  std::atomic<bool> inside{false}, may_end{false};
  std::thread other([&] {
    pool_.run([&](int) {
      inside = true;
      while (!may_end) std::this_thread::yield();
    });
  });
  while (!inside) std::this_thread::yield();
  try {
    pool_.run([](int) {});
    ADD_FAILURE() << "no Error";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::Usage);
  }
  may_end = true;
  other.join();
  std::atomic<int> nested{0};
  pool_.run([&](int) {
    try {
      pool_.run([](int) {});
    } catch (const Error&) {
      ++nested;
    }
  });
  EXPECT_EQ(nested.load(), 3);
}

}  // namespace
}  // namespace attar::runtime
