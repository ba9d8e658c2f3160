#include "runtime/benchmark.h"

#include <sys/resource.h>

#include <chrono>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <functional>

#include "runtime/vocabulary_math.h"

namespace attar::runtime {
namespace {

double seconds_of(const std::function<void()>& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

void run_prompt(const Model& model, KvCache& cache, int64_t n, Workspace& work) {
  std::vector<Row> rows;
  for (int64_t i = 0; i < n; ++i)
    rows.push_back({&cache, static_cast<int32_t>((i * 7919 + 11) % model.config().vocab_size), i + 1 == n});
  if (!rows.empty()) forward(model, rows, work);
}

void run_generation(const Model& model, KvCache& cache, int64_t n, Workspace& work) {
  int32_t token = 1 % static_cast<int32_t>(model.config().vocab_size);
  for (int64_t i = 0; i < n; ++i) {
    const Row row{&cache, token, true};
    forward(model, std::span(&row, 1), work);
    token = static_cast<int32_t>(argmax(work.logits(0)));
  }
}

void finish(BenchRow& row) {
  double sum = 0.0, squares = 0.0;
  for (const double sample : row.samples_ts) sum += sample;
  const auto n = static_cast<double>(row.samples_ts.size());
  row.avg_ts = sum / n;
  for (const double sample : row.samples_ts) squares += (sample - row.avg_ts) * (sample - row.avg_ts);
  row.stddev_ts = n > 1 ? std::sqrt(squares / (n - 1)) : 0.0;
}

}  // namespace

std::vector<BenchRow> benchmark(const Model& model, const BenchOptions& options, Workspace& work,
                                const Progress& progress) {
  std::vector<BenchRow> rows;
  for (const int64_t depth : options.depth_tokens) {
    for (const int64_t n : options.prompt_tokens)
      if (n > 0)
        rows.push_back({.n_prompt = n, .n_depth = depth, .n_threads = work.threads().size(), .samples_ts = {}});
    for (const int64_t n : options.generated_tokens)
      if (n > 0) rows.push_back({.n_gen = n, .n_depth = depth, .n_threads = work.threads().size(), .samples_ts = {}});
  }
  int64_t done = 0;
  const auto total = static_cast<int64_t>(rows.size()) * options.repetitions;
  for (BenchRow& row : rows) {
    KvCache filled(model);
    run_prompt(model, filled, row.n_depth, work);
    for (int64_t repetition = -1; repetition < options.repetitions; ++repetition) {  // one warm-up
      KvCache cache(filled);
      const double seconds = seconds_of([&] {
        if (row.n_prompt > 0)
          run_prompt(model, cache, row.n_prompt, work);
        else
          run_generation(model, cache, row.n_gen, work);
      });
      if (repetition < 0) continue;
      row.samples_ts.push_back(static_cast<double>(row.n_prompt + row.n_gen) / seconds);
      report(progress, {.stage = "bench", .unit = "runs", .done = ++done, .total = total});
    }
    finish(row);
  }
  return rows;
}

uint64_t peak_rss_bytes() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);)
    if (line.rfind("VmHWM:", 0) == 0) return std::strtoull(line.c_str() + 6, nullptr, 10) * 1024;
  struct rusage usage {};
  ::getrusage(RUSAGE_SELF, &usage);
  return static_cast<uint64_t>(usage.ru_maxrss) * 1024;
}

void reset_peak_rss() {
  std::ofstream("/proc/self/clear_refs") << '5';  // proc(5): sets VmHWM to what is resident now
}

}  // namespace attar::runtime
