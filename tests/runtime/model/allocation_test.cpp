// Memory that runs out anywhere: the n-th allocation fails, for every n of a load, a forward and a generate. Each time
// an Error or std::bad_alloc comes out, and afterwards everything works, with the same bits.
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <functional>
#include <new>

#include "runtime/base/error.h"
#include "runtime/model/model.h"
#include "runtime/text/batch_engine.h"
#include "runtime/text/grammar/automaton.h"
#include "runtime/text/grammar/gbnf.h"
#include "runtime/text/grammar/states.h"
#include "tests/runtime/tiny_model.h"

namespace {

enum class Fail { One, AllFromThere };

std::atomic<int64_t> allocations_left{-1};  // until one fails; negative: none does
std::atomic<Fail> how{Fail::One};

bool fails() {
  if (allocations_left < 0) return false;
  const int64_t left = allocations_left.fetch_sub(1);
  if (left > 0) return false;
  if (left == 0 && how == Fail::AllFromThere) allocations_left = 0;
  return left == 0;
}

void* allocated(size_t size) {
  void* memory = fails() ? nullptr : std::malloc(size > 0 ? size : 1);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}

}  // namespace

// These stand before the C++ and C library's: all that the runtime allocates comes through them.
void* operator new(size_t size) {
  return allocated(size);
}
void* operator new[](size_t size) {
  return allocated(size);
}
void operator delete(void* memory) noexcept {
  std::free(memory);
}
void operator delete[](void* memory) noexcept {
  std::free(memory);
}
void operator delete(void* memory, size_t) noexcept {
  std::free(memory);
}
void operator delete[](void* memory, size_t) noexcept {
  std::free(memory);
}
extern "C" void* mmap(void* address, size_t size, int protection, int flags, int descriptor, off_t offset) noexcept {
  if (fails()) {
    errno = ENOMEM;
    return MAP_FAILED;
  }
  return reinterpret_cast<void*>(::syscall(SYS_mmap, address, size, protection, flags, descriptor, offset));
}

namespace attar::runtime {
namespace {

using Logits = std::vector<std::vector<float>>;

class Allocation : public ::testing::Test {
 protected:
  // Calls `work` with the n-th allocation failing, n from 0 on, until one call needs fewer; `check` after each failure.
  // -> how many failed.
  static int64_t fail_each(Fail kind, const std::function<void()>& work, const std::function<void()>& check) {
    for (int64_t n = 0;; ++n) {
      bool failed = false;
      how = kind;
      allocations_left = n;
      try {
        work();
      } catch (const Error& error) {
        failed = error.kind() == ErrorKind::Resources;
        EXPECT_TRUE(failed) << error.what();
      } catch (const std::bad_alloc&) {
        failed = true;
      }
      const bool untouched = allocations_left >= 0 && !failed;  // it needed fewer
      allocations_left = -1;
      if (untouched) return n;
      EXPECT_TRUE(failed) << "allocation " << n << " failed in silence";
      check();
      if (HasFailure()) return n;
    }
  }

  Logits run(KvCache& cache, Workspace& work, std::span<const int32_t> tokens) {
    std::vector<Row> rows;
    for (const int32_t token : tokens) rows.push_back({&cache, token, true});
    forward(model_, rows, work);
    Logits out;
    for (size_t i = 0; i < rows.size(); ++i) {
      const auto row = work.logits(static_cast<int64_t>(i));
      out.emplace_back(row.begin(), row.end());
    }
    return out;
  }
  Logits fresh(std::span<const int32_t> tokens) {
    Workspace work(model_, pool_);
    KvCache cache(model_);
    return run(cache, work, tokens);
  }

  ThreadPool pool_{2};
  ModelFile file_ = tiny_model(tiny_config({.matrix_type = TensorType::Q8_0}), {.matrix_type = TensorType::Q8_0});
  Model model_ = Model::load(file_, {}, pool_);
  std::vector<int32_t> long_text_ = std::vector<int32_t>(600, 7), short_text_{1, 2, 3};
};

TEST_F(Allocation, OfALoad) {
  for (const Fail kind : {Fail::One, Fail::AllFromThere}) {
    const auto load = [&] { Model::load(file_, {}, pool_); };
    EXPECT_GT(fail_each(kind, load, [] {}), 50);
  }
  const Model again = Model::load(file_, {}, pool_);
  EXPECT_EQ(again.packed_bytes(), model_.packed_bytes());
}

// A long call that fails, then a short one, which finds what the long one left; then the long one.
TEST_F(Allocation, OfAForward) {
  const Logits expected_short = fresh(short_text_), expected_long = fresh(long_text_);
  for (const Fail kind : {Fail::One, Fail::AllFromThere}) {
    std::optional<Workspace> work;
    std::optional<KvCache> cache;
    const auto begin = [&] {
      work.emplace(model_, pool_);
      cache.emplace(model_);
      run(*cache, *work, short_text_);
      cache->truncate(0);
    };
    begin();
    int64_t n = 0;
    const auto check = [&] {
      ASSERT_EQ(cache->length_tokens(), 0);
      ASSERT_EQ(run(*cache, *work, short_text_), expected_short);
      cache->truncate(0);
      if (++n % 8 == 0) {
        ASSERT_EQ(run(*cache, *work, long_text_), expected_long);
      }
      begin();
    };
    const auto long_call = [&] {
      std::vector<Row> rows;
      for (const int32_t token : long_text_) rows.push_back({&*cache, token, true});
      forward(model_, rows, *work);
    };
    EXPECT_GT(fail_each(kind, long_call, check), 20);
    cache->truncate(0);
    EXPECT_EQ(run(*cache, *work, long_text_), expected_long);
  }
}

TEST_F(Allocation, OfASequenceInABatch) {
  Workspace work(model_, pool_);
  KvCache first(model_), second(model_);
  run(first, work, short_text_);
  const auto step = [&] {
    std::vector<Row> rows;
    rows.push_back({&first, 4, true});
    for (int i = 0; i < 300; ++i) rows.push_back({&second, 5, i == 299});
    forward(model_, rows, work);
  };
  const auto check = [&] {
    ASSERT_EQ(first.length_tokens(), 3);
    ASSERT_EQ(second.length_tokens(), 0);
  };
  EXPECT_GT(fail_each(Fail::One, step, check), 5);
  const std::vector<float> together(work.logits(0).begin(), work.logits(0).end());
  first.truncate(3);
  EXPECT_EQ(run(first, work, std::vector<int32_t>{4})[0], together);
}

TEST_F(Allocation, OfACopiedCache) {
  Workspace work(model_, pool_);
  KvCache cache(model_);
  run(cache, work, long_text_);
  const auto copy = [&] { KvCache fork(cache); };
  EXPECT_GE(fail_each(Fail::One, copy, [&] { ASSERT_EQ(cache.length_tokens(), 600); }), 4);
}

TEST_F(Allocation, OfAGenerate) {
  Workspace work(model_, pool_);
  const GenerateOptions options{.max_tokens = 4, .sampling = {.temperature = 1.0}, .seed = 3, .stop = {"xyz"}};
  const auto written = [&] {
    KvCache cache(model_);
    return generate(model_, cache, short_text_, options, work);
  };
  const std::vector<int32_t> expected = written().tokens;
  for (const Fail kind : {Fail::One, Fail::AllFromThere}) {
    const auto check = [&] { ASSERT_EQ(written().tokens, expected); };
    EXPECT_GT(fail_each(
                  kind, [&] { written(); }, check),
              20);
  }
}

// A step that finds no memory has done nothing: the texts are the same in the end.
TEST_F(Allocation, OfAnEngine) {
  Workspace work(model_, pool_);
  Draft own(Model::load(file_, {}, pool_), model_, pool_);
  Draft* draft = nullptr;
  const auto written = [&](const std::function<void(BatchEngine&)>& run) {
    BatchEngine engine(model_, work, {.max_sequences = 2, .prompt_tokens = 64, .draft = draft});
    std::vector<std::vector<int32_t>> texts(3);
    for (size_t i = 0; i < texts.size(); ++i) {
      BatchRequest request;
      request.prompt.assign(i == 1 ? 200 : 20, 7);
      request.options.max_tokens = 4;
      request.options.stop = {"xyz"};
      request.options.lookup = 2;
      texts[i].reserve(4);
      request.on_end = [&texts, i](const Ended& ended) { texts[i] = ended.text.tokens; };
      engine.submit(request);
    }
    run(engine);
    while (engine.step()) continue;
    return texts;
  };
  const auto expected = written([](BatchEngine&) {});
  for (const auto& text : expected) ASSERT_EQ(text.size(), 4u);
  for (const int64_t step : {0, 1, 2, 4, 6, -1, -2}) {  // that fails; below 0 with a draft, which ends texts sooner
    draft = step < 0 ? &own : nullptr;
    int64_t failed = 0;
    for (int64_t n = 0;; ++n) {
      bool untouched = false;
      const auto texts = written([&](BatchEngine& engine) {
        for (int64_t i = 0; i < std::abs(step); ++i) engine.step();
        how = Fail::One;
        allocations_left = n;
        try {
          engine.step();
        } catch (const Error& error) {
          EXPECT_EQ(error.kind(), ErrorKind::Resources) << error.what();
          ++failed;
        } catch (const std::bad_alloc&) {
          ++failed;
        }
        untouched = allocations_left >= 0;
        allocations_left = -1;
      });
      ASSERT_EQ(texts, expected) << "step " << step << ", allocation " << n;
      if (untouched) break;
    }
    EXPECT_GT(failed, 2) << step;
  }
  const auto submit = [&] {
    BatchEngine engine(model_, work, {});
    BatchRequest request;
    request.prompt = short_text_;
    engine.submit(request);
  };
  EXPECT_GT(fail_each(Fail::One, submit, [] {}), 4);
}

// Where a byte was not read for want of memory another one comes: how deep the brackets are is known all the same.
TEST_F(Allocation, OfAGrammar) {
  const Automaton automaton = compile(parse_gbnf("root ::= \"(\" root \")\" | \"[\" root \"]\" | \"x\"", "g"));
  constexpr uint32_t kDepthThatFails = 40;
  for (int64_t n = 0;; ++n) {
    GrammarStates states(automaton);
    uint32_t state = states.start();
    uint8_t bracket = '(';
    uint32_t depth = 0;
    how = Fail::One;
    allocations_left = n;
    for (; depth < kMostNesting && state != GrammarStates::kDead; ++depth) {
      if (depth == kDepthThatFails && allocations_left >= 0) {  // it needed fewer
        allocations_left = -1;
        EXPECT_GT(n, 20);
        return;
      }
      states.begin_token();
      try {
        state = states.step(state, bracket);
      } catch (const std::bad_alloc&) {
        bracket = static_cast<uint8_t>(bracket == '(' ? '[' : '(');
        state = states.step(state, bracket);
      }
    }
    ASSERT_EQ(depth, kMostNesting) << "allocation " << n;
    ASSERT_NE(state, GrammarStates::kDead) << "allocation " << n;
    states.begin_token();
    ASSERT_EQ(states.step(state, '('), GrammarStates::kDead) << "allocation " << n;
    ASSERT_EQ(states.step(state, '['), GrammarStates::kDead) << "allocation " << n;
  }
}

TEST_F(Allocation, OfAPool) {
  const auto start = [] { ThreadPool pool(4); };
  EXPECT_GT(fail_each(Fail::One, start, [] {}), 4);
}

TEST_F(Allocation, OfAWorkspace) {
  const auto make = [&] { Workspace work(model_, pool_); };
  EXPECT_GT(fail_each(Fail::One, make, [] {}), 6);
}

}  // namespace
}  // namespace attar::runtime
