#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>

#include "runtime/base/cpu.h"
#include "runtime/base/error.h"
#include "runtime/benchmark.h"
#include "runtime/cli/terminal.h"
#include "runtime/cli/verbs.h"

namespace attar::cli {
namespace {

struct Options {
  std::string model;
  runtime::BenchOptions bench;
  int64_t threads = 0;
  bool fp32 = false;
  bool lengths_given = false;  // otherwise the usual ones, where the context has room
};

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const size_t n = values.size();
  return n == 0 ? 0.0 : n % 2 == 1 ? values[n / 2] : 0.5 * (values[n / 2 - 1] + values[n / 2]);
}

int run(const Options& options, const GlobalOptions& global) {
  const auto start = std::chrono::steady_clock::now();
  const int threads = options.threads > 0 ? static_cast<int>(options.threads) : global.thread_count();
  const ModelFile file = ModelFile::open(options.model);
  runtime::BenchOptions bench = options.bench;
  for (std::vector<int64_t>* lengths : {&bench.prompt_tokens, &bench.generated_tokens})
    if (!options.lengths_given)
      for (int64_t& length : *lengths) length = std::min(length, file.config().context_length);
  ThreadPool pool(threads);
  const runtime::Model model = runtime::Model::load(
      file, {.numerics = options.fp32 ? runtime::Numerics::Fp32 : runtime::Numerics::Deployed}, pool);
  runtime::Workspace work(model, pool);
  {
    runtime::KvCache cache(model);
    const runtime::Row row{&cache, 0, true};
    runtime::forward(model, std::span(&row, 1), work);
  }
  const double first_token_s = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  const std::vector<runtime::BenchRow> rows = runtime::benchmark(model, bench, work, terminal_progress(global));
  if (!global.json) {
    std::printf("%s, %.1f MB, %.1f M parameters, %s, %d threads\n", file.provenance().name.c_str(),
                static_cast<double>(file.size_bytes()) * 1e-6,
                static_cast<double>(file.config().parameter_count()) * 1e-6, isa_name(cpu_features().best_isa()),
                threads);
    std::printf("%-10s %8s %14s %10s\n", "test", "depth", "tokens/s", "+-");
    for (const runtime::BenchRow& row : rows)
      std::printf("%s%-8lld %8lld %14.2f %10.2f\n", row.n_prompt > 0 ? "pp" : "tg",
                  static_cast<long long>(row.n_prompt + row.n_gen), static_cast<long long>(row.n_depth), row.avg_ts,
                  row.stddev_ts);
    std::printf("first token after %.3f s, peak memory %.1f MB\n", first_token_s,
                static_cast<double>(runtime::peak_rss_bytes()) * 1e-6);
    return 0;
  }
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  for (const runtime::BenchRow& row : rows)
    list.push_back({{"model_filename", file.source()},
                    {"model_size", file.size_bytes()},
                    {"model_n_params", file.config().parameter_count()},
                    {"cpu_info", cpu_features().model},
                    {"backends", "attar"},
                    {"n_threads", row.n_threads},
                    {"n_prompt", row.n_prompt},
                    {"n_gen", row.n_gen},
                    {"n_depth", row.n_depth},
                    {"avg_ts", row.avg_ts},
                    {"stddev_ts", row.stddev_ts},
                    {"median_ts", median(row.samples_ts)},
                    {"samples_ts", row.samples_ts}});
  const nlohmann::ordered_json document = {{"schema_version", 1},
                                           {"model_size", file.size_bytes()},
                                           {"model_n_params", file.config().parameter_count()},
                                           {"bits_per_weight", file.bits_per_weight()},
                                           {"isa", isa_name(cpu_features().best_isa())},
                                           {"time_to_first_token_s", first_token_s},
                                           {"peak_rss_bytes", runtime::peak_rss_bytes()},
                                           {"rows", list}};
  std::printf("%s\n", document.dump(1).c_str());
  return 0;
}

}  // namespace

Action add_bench(CLI::App& command, const GlobalOptions& global) {
  const auto options = std::make_shared<Options>();
  command.add_option("MODEL", options->model, "a GGUF file, a Hugging Face directory or pip:PACKAGE")->required();
  command.add_option("-p,--n-prompt", options->bench.prompt_tokens, "prompt lengths to measure")
      ->delimiter(',')
      ->capture_default_str();
  command.add_option("-n,--n-gen", options->bench.generated_tokens, "generation lengths to measure")
      ->delimiter(',')
      ->capture_default_str();
  command.add_option("-d,--n-depth", options->bench.depth_tokens, "tokens of context before each measurement")
      ->delimiter(',')
      ->capture_default_str();
  command.add_option("-t", options->threads, "threads; 0 for all cores")->capture_default_str();
  command.add_option("-r,--repetitions", options->bench.repetitions, "runs of each measurement")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  command.add_flag("--fp32", options->fp32, "measure the fp32 mode instead of the deployed one");
  return [options, &command, &global] {
    options->lengths_given = command.count("-p") + command.count("-n") + command.count("-d") > 0;
    return run(*options, global);
  };
}

}  // namespace attar::cli
