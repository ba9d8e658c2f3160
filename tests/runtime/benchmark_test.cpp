#include "runtime/benchmark.h"

#include <gtest/gtest.h>

#include <cmath>

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
                  EXPECT_EQ(event.done, ++events);
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
  }
  EXPECT_GT(peak_rss_bytes(), uint64_t{1} << 20);
}

}  // namespace
}  // namespace attar::runtime
