#include "runtime/judge/benchmark.h"

#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <tuple>

#include "runtime/base/error.h"
#include "runtime/base/host/kernel_file.h"
#include "runtime/kernels/vocabulary_math.h"
#include "runtime/model/workspace.h"

namespace attar::runtime {
namespace {

double seconds_of(const std::function<void()>& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

void run_prompt(const Model& model, KvCache& cache, int64_t n, Workspace& work, const Progress& progress) {
  std::vector<Row> rows;
  for (int64_t i = 0; i < n; ++i)
    rows.push_back({&cache, static_cast<int32_t>((i * 7919 + 11) % model.config().vocab_size), i + 1 == n});
  if (!rows.empty()) forward(model, rows, work, progress);
}

void run_generation(const Model& model, std::vector<KvCache>& caches, int64_t n, Workspace& work,
                    const Progress& progress) {
  std::vector<Row> rows;
  for (KvCache& cache : caches)
    rows.push_back(
        {&cache, static_cast<int32_t>(static_cast<int64_t>(rows.size() + 1) % model.config().vocab_size), true});
  for (int64_t i = 0; i < n; ++i) {
    forward(model, rows, work);
    report(progress, {.stage = "bench", .unit = "tokens"});
    Profile* const profile = work.buffers().profile;
    const auto begun = profile != nullptr ? Profile::Clock::now() : Profile::Clock::time_point{};
    for (size_t row = 0; row < rows.size(); ++row)
      rows[row].token = static_cast<int32_t>(argmax(work.logits(static_cast<int64_t>(row))));
    if (profile != nullptr) profile->add(Operation::Sampling, Profile::Clock::now() - begun);
  }
}

// While it lives, the workspace's passes are timed.
class Profiling {
 public:
  Profiling(Workspace& work, Profile& profile) : work_(work) { work.buffers().profile = &profile; }
  ~Profiling() { work_.buffers().profile = nullptr; }
  Profiling(const Profiling&) = delete;
  Profiling& operator=(const Profiling&) = delete;

 private:
  Workspace& work_;
};

// `run` returns how long it took.
Profile profiled(Workspace& work, int64_t repetitions, const std::function<double()>& run) {
  Profile profile(work.threads().size());
  const Profiling profiling(work, profile);
  double total_s = 0.0;
  for (int64_t i = 0; i < repetitions; ++i) total_s += run();
  const std::chrono::duration<double> between(std::max(0.0, total_s - profile.total_s()));
  profile.add(Operation::BetweenPasses, std::chrono::duration_cast<Profile::Clock::duration>(between));
  return profile;
}

std::pair<double, double> mean_and_deviation(const std::vector<double>& samples) {
  double sum = 0.0, squares = 0.0;
  for (const double sample : samples) sum += sample;
  const auto n = static_cast<double>(samples.size());
  const double mean = sum / n;
  for (const double sample : samples) squares += (sample - mean) * (sample - mean);
  return {mean, n > 1 ? std::sqrt(squares / (n - 1)) : 0.0};
}

// Before anything has run: a long measurement does not fail half way.
void check(const BenchOptions& options, int64_t context) {
  const auto least = [](const std::vector<int64_t>& values) {
    return values.empty() ? int64_t{0} : *std::min_element(values.begin(), values.end());
  };
  if (std::min({least(options.prompt_tokens), least(options.generated_tokens), least(options.depth_tokens)}) < 0)
    throw usage_error("-p, -n, -d", "count tokens", "at least 0", "a negative number");
  if (least(options.parallel_sequences) < 1 && !options.parallel_sequences.empty())
    throw usage_error("--batch", "counts sequences", "at least 1", std::to_string(least(options.parallel_sequences)));
  const auto most = [](const std::vector<int64_t>& values) {
    return values.empty() ? int64_t{0} : *std::max_element(values.begin(), values.end());
  };
  const auto fit = [&](const char* flags, int64_t tokens) {
    if (tokens > context - most(options.depth_tokens))
      throw usage_error(flags, "go past the model's context together", "at most " + std::to_string(context) + " tokens",
                        std::to_string(most(options.depth_tokens)) + " + " + std::to_string(tokens));
  };
  fit("-d and -p", most(options.prompt_tokens));
  fit("-d and -n", most(options.generated_tokens));
}

}  // namespace

std::vector<BenchRow> benchmark(const Model& model, const BenchOptions& options, Workspace& work,
                                const Progress& progress) {
  check(options, model.config().context_length);
  std::vector<BenchRow> rows;
  const int n_threads = work.threads().size();
  for (const int64_t depth : options.depth_tokens) {
    for (const int64_t n : options.prompt_tokens)
      if (n > 0) rows.push_back({.n_prompt = n, .n_depth = depth, .n_threads = n_threads});
    for (const int64_t n : options.generated_tokens)
      for (const int64_t sequences : options.parallel_sequences)
        if (n > 0) rows.push_back({.n_gen = n, .n_depth = depth, .n_parallel = sequences, .n_threads = n_threads});
  }
  if (options.profile && rows.empty())
    throw usage_error("--profile", "has nothing to look at", "a length above 0 with -p or -n");
  Event runs{.stage = "bench", .unit = "runs", .total = static_cast<int64_t>(rows.size()) * options.repetitions};
  const Progress between = inside(progress, runs);
  for (BenchRow& row : rows) {
    KvCache filled(model);
    run_prompt(model, filled, row.n_depth, work, between);
    const auto run = [&] {
      std::vector<KvCache> caches(static_cast<size_t>(row.n_parallel), filled);
      return seconds_of([&] {
        if (row.n_prompt > 0)
          run_prompt(model, caches[0], row.n_prompt, work, between);
        else
          run_generation(model, caches, row.n_gen, work, between);
      });
    };
    double spent_s = 0.0;
    for (int64_t repetition = -1; repetition < options.repetitions || spent_s < options.min_seconds; ++repetition) {
      const double seconds = run();
      if (repetition < 0) continue;  // one warm-up
      spent_s += seconds;
      row.samples_ns.push_back(1e9 * seconds);
      row.samples_ts.push_back(static_cast<double>(row.tokens()) / seconds);
      if (repetition < options.repetitions) ++runs.done;
      report(progress, runs);
    }
    std::tie(row.avg_ns, row.stddev_ns) = mean_and_deviation(row.samples_ns);
    std::tie(row.avg_ts, row.stddev_ts) = mean_and_deviation(row.samples_ts);
    if (options.profile) row.profile = profiled(work, options.repetitions, run);
  }
  return rows;
}

uint64_t peak_rss_bytes() {
  if (const std::string kib = kernel_value(kernel_file("/proc/self/status"), "VmHWM:"); !kib.empty())
    return std::strtoull(kib.c_str(), nullptr, 10) * 1024;
  struct rusage usage {};
  ::getrusage(RUSAGE_SELF, &usage);
  return static_cast<uint64_t>(usage.ru_maxrss) * 1024;
}

void reset_peak_rss() {
  if (FILE* file = std::fopen("/proc/self/clear_refs", "we")) {
    std::fputc('5', file);  // proc(5): sets VmHWM to what is resident now
    std::fclose(file);
  }
}

}  // namespace attar::runtime
