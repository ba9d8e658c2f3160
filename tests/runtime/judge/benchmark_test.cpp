#include "runtime/judge/benchmark.h"

#include <gtest/gtest.h>

#include <cmath>

#include "runtime/base/error.h"
#include "runtime/model/workspace.h"
#include "tests/runtime/tiny_model.h"

namespace attar::runtime {
namespace {

TEST(Benchmark, GivesARowForEveryTestAndDepth) {
  ThreadPool pool(2);
  const Model model = Model::load(tiny_model(tiny_config({}), {}), {.numerics = Numerics::Fp32}, pool);
  Workspace work(model, pool);
  int64_t events = 0;
  const std::vector<BenchRow> rows =
      benchmark(model, {.prompt_tokens = {5, 0}, .generated_tokens = {3, 2}, .depth_tokens = {0, 4}, .repetitions = 3},
                work, [&](const Event& event) {
                  EXPECT_EQ(event.total, 18);
                  EXPECT_TRUE(event.done == events || event.done == events + 1) << "asked within a run too";
                  events = event.done;
                  return Flow::GoOn;
                });
  ASSERT_EQ(rows.size(), 6u);
  EXPECT_EQ(events, 18);
  EXPECT_EQ(rows[0].n_prompt, 5);
  EXPECT_EQ(rows[0].n_gen, 0);
  EXPECT_EQ(rows[4].n_gen, 3);
  EXPECT_EQ(rows[4].n_depth, 4);
  for (const BenchRow& row : rows) {
    ASSERT_EQ(row.samples_ts.size(), 3u);
    EXPECT_EQ(row.n_threads, 2);
    const double mean = (row.samples_ts[0] + row.samples_ts[1] + row.samples_ts[2]) / 3.0;
    double squares = 0.0;
    for (const double sample : row.samples_ts) {
      EXPECT_GT(sample, 0.0);
      squares += (sample - mean) * (sample - mean);
    }
    EXPECT_NEAR(row.avg_ts, mean, 1e-9 * mean);
    EXPECT_NEAR(row.stddev_ts, std::sqrt(squares / 2.0), 1e-6 * mean);
    ASSERT_EQ(row.samples_ns.size(), 3u);
    for (size_t i = 0; i < 3; ++i)
      EXPECT_NEAR(row.samples_ns[i] * row.samples_ts[i], 1e9 * static_cast<double>(row.n_prompt + row.n_gen), 1.0);
    EXPECT_NEAR(row.avg_ns, (row.samples_ns[0] + row.samples_ns[1] + row.samples_ns[2]) / 3.0, 1e-9 * row.avg_ns);
  }
  EXPECT_GT(peak_rss_bytes(), uint64_t{1} << 20);
}

TEST(Benchmark, CountsTheTokensOfAllSequences) {
  ThreadPool pool(1);
  const Model model = Model::load(tiny_model(tiny_config({}), {}), {.numerics = Numerics::Fp32}, pool);
  Workspace work(model, pool);
  const std::vector<BenchRow> rows = benchmark(model,
                                               {.prompt_tokens = {5},
                                                .generated_tokens = {3},
                                                .depth_tokens = {2},
                                                .parallel_sequences = {1, 4},
                                                .repetitions = 2},
                                               work);
  ASSERT_EQ(rows.size(), 3u);
  const int64_t parallel[] = {1, 1, 4}, tokens[] = {5, 3, 12};
  for (size_t i = 0; i < rows.size(); ++i) {
    EXPECT_EQ(rows[i].n_parallel, parallel[i]);
    EXPECT_NEAR(rows[i].samples_ns[0] * rows[i].samples_ts[0], 1e9 * static_cast<double>(tokens[i]), 1.0);
  }
  EXPECT_THROW(benchmark(model, {.parallel_sequences = {0}}, work), Error);
}

TEST(Benchmark, RepeatsShortRunsUntilTheyTookLongEnough) {
  ThreadPool pool(1);
  const Model model = Model::load(tiny_model(tiny_config({}), {}), {.numerics = Numerics::Fp32}, pool);
  Workspace work(model, pool);
  int64_t done = 0;
  const std::vector<BenchRow> rows =
      benchmark(model, {.prompt_tokens = {2}, .generated_tokens = {}, .repetitions = 2, .min_seconds = 0.05}, work,
                [&](const Event& event) {
                  EXPECT_LE(event.done, event.total);
                  done = event.done;
                  return Flow::GoOn;
                });
  ASSERT_EQ(rows.size(), 1u);
  double total_s = 0.0;
  for (const double ns : rows[0].samples_ns) total_s += 1e-9 * ns;
  EXPECT_GE(total_s, 0.05);
  EXPECT_LT(total_s - 1e-9 * rows[0].samples_ns.back(), 0.05) << "and no longer";
  EXPECT_GT(rows[0].samples_ns.size(), 2u);
  EXPECT_EQ(done, 2);
}

TEST(Benchmark, ProfilesRunsOfTheirOwn) {
  ThreadPool pool(2);
  const Model model = Model::load(tiny_model(tiny_config({}), {}), {.numerics = Numerics::Fp32}, pool);
  Workspace work(model, pool);
  const BenchOptions options = {.prompt_tokens = {6},
                                .generated_tokens = {3},
                                .depth_tokens = {2},
                                .parallel_sequences = {4},
                                .repetitions = 2,
                                .profile = true};
  const std::vector<BenchRow> rows = benchmark(model, options, work);
  ASSERT_EQ(rows.size(), 2u);
  const int64_t passes[] = {2, 2 * 3}, tokens[] = {2 * 6, 2 * 3 * 4};
  for (size_t i = 0; i < rows.size(); ++i) {
    EXPECT_EQ(rows[i].samples_ts.size(), 2u) << "measured without the clock";
    ASSERT_TRUE(rows[i].profile.has_value());
    EXPECT_EQ(rows[i].profile->passes, passes[i]);
    EXPECT_EQ(rows[i].profile->rows, tokens[i]);
  }
  EXPECT_EQ(rows[0].profile->seconds(Operation::Sampling), 0.0);
  EXPECT_GT(rows[1].profile->seconds(Operation::Sampling), 0.0);
  EXPECT_EQ(work.buffers().profile, nullptr);
  EXPECT_FALSE(benchmark(model, {.prompt_tokens = {2}, .generated_tokens = {}, .repetitions = 1}, work)[0].profile);
  int64_t events = 0;  // 11 before the profile: of three runs nine tokens, of two that count their ends
  const Progress stop = [&](const Event&) { return ++events > 12 ? Flow::Stop : Flow::GoOn; };
  BenchOptions stopped = options;
  stopped.prompt_tokens = {};
  EXPECT_THROW(benchmark(model, stopped, work, stop), Error);
  EXPECT_EQ(work.buffers().profile, nullptr);
  EXPECT_THROW(benchmark(model, {.prompt_tokens = {0}, .generated_tokens = {0}, .profile = true}, work), Error);
}

TEST(Benchmark, RefusesBeforeItWorks) {
  ThreadPool pool(1);
  const ModelConfig config = tiny_config({});
  const Model model = Model::load(tiny_model(config, {}), {.numerics = Numerics::Fp32}, pool);
  Workspace work(model, pool);
  const int64_t context = config.context_length;
  int events = 0;
  const Progress count = [&](const Event&) { return ++events, Flow::GoOn; };
  const auto refused = [&](const BenchOptions& options, const std::string& flag) {
    try {
      benchmark(model, options, work, count);
      return false;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::Usage);
      return std::string(error.what()).find(flag) != std::string::npos;
    }
  };
  EXPECT_TRUE(refused({.prompt_tokens = {1, context}, .generated_tokens = {1}, .depth_tokens = {0, 1}}, "-d and -p"));
  EXPECT_TRUE(refused({.prompt_tokens = {1}, .generated_tokens = {context + 1}}, "-d and -n"));
  EXPECT_TRUE(refused({.prompt_tokens = {1}, .generated_tokens = {1}, .depth_tokens = {-7}}, "-d"));
  EXPECT_TRUE(refused({.prompt_tokens = {-4}, .generated_tokens = {1}}, "-p"));
  EXPECT_EQ(events, 0);
}

TEST(Benchmark, StopsWithinARun) {
  ThreadPool pool(1);
  const Model model = Model::load(tiny_model(tiny_config({}), {}), {.numerics = Numerics::Fp32}, pool);
  Workspace work(model, pool);
  EXPECT_THROW(benchmark(model, {.prompt_tokens = {}, .generated_tokens = {20}}, work,
                         [](const Event& event) { return event.done == 0 ? Flow::Stop : Flow::GoOn; }),
               Error);
}

}  // namespace
}  // namespace attar::runtime
