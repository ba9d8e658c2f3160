#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <ctime>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>

#include "runtime/base/error.h"
#include "runtime/base/host/cpu.h"
#include "runtime/base/host/cpu_limits.h"
#include "runtime/base/host/freed_memory.h"
#include "runtime/cli/bench_profile.h"
#include "runtime/cli/flags.h"
#include "runtime/cli/terminal/terminal.h"
#include "runtime/cli/verbs.h"
#include "runtime/formats/tokenizer/unicode.h"
#include "runtime/judge/benchmark.h"
#include "runtime/judge/measure.h"
#include "runtime/model/workspace.h"

namespace attar::cli {
namespace {

using Json = nlohmann::ordered_json;

struct Options {
  std::string model;
  runtime::BenchOptions bench;
  std::vector<int64_t> threads;  // empty: as --threads says
  std::string numerics = "deployed", kv;
  bool prompt_given = false, generated_given = false;  // otherwise as long as the context has room
};

struct Measured {
  std::vector<runtime::BenchRow> rows;
  std::vector<std::string> notes;
  std::string kv;
  double first_token_s = 0;
  uint64_t peak_rss_bytes = 0;
  std::map<int, runtime::MachineSpeed> machine{};  // by threads, where there are profiles
};

// The usual lengths, shortened where the context has no room for them.
runtime::BenchOptions lengths_of(const Options& options, int64_t context) {
  runtime::BenchOptions bench = options.bench;
  const int64_t deepest =
      bench.depth_tokens.empty() ? 0 : *std::max_element(bench.depth_tokens.begin(), bench.depth_tokens.end());
  const int64_t room = std::max<int64_t>(1, context - deepest);
  if (!options.prompt_given) bench.prompt_tokens = {std::min(bench.prompt_tokens[0], room)};
  if (!options.generated_given) bench.generated_tokens = {std::min(bench.generated_tokens[0], room)};
  return bench;
}

// From the start of the program's work to the first token, with all of loading.
double first_token_s(const runtime::Model& model, runtime::Workspace& work,
                     std::chrono::steady_clock::time_point start) {
  runtime::KvCache cache(model);
  const runtime::Row row{&cache, 0, true};
  runtime::forward(model, std::span(&row, 1), work);
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

Measured measure_all(const Options& options, const ModelFile& file, const GlobalOptions& global,
                     std::chrono::steady_clock::time_point start) {
  const Numerics numerics = numerics_of(options.numerics, "--numerics");
  const std::optional<KvFormat> kv = kv_format_of(options.kv, "--kv", numerics);
  std::vector<int64_t> counts = options.threads;
  if (counts.empty()) counts = {global.thread_count()};
  const runtime::BenchOptions bench = lengths_of(options, file.config().context_length);
  const Progress progress = terminal_progress(global);
  Measured measured;
  std::optional<runtime::Model> model;
  for (const int64_t count : counts) {
    ThreadPool pool(count > 0 ? static_cast<int>(count) : default_threads());
    const bool first = !model;
    if (first) model.emplace(runtime::Model::load(file, {.numerics = numerics, .kv = kv}, pool));
    if (first) give_back_freed_memory();
    runtime::Workspace work(*model, pool);
    if (first) measured.first_token_s = first_token_s(*model, work, start);
    for (runtime::BenchRow& row : runtime::benchmark(*model, bench, work, progress))
      measured.rows.push_back(std::move(row));
  }
  measured.peak_rss_bytes = runtime::peak_rss_bytes();  // before the machine is measured, which takes memory
  for (const runtime::BenchRow& row : measured.rows) {
    if (!row.profile || measured.machine.contains(row.n_threads)) continue;
    ThreadPool pool(row.n_threads);
    measured.machine[row.n_threads] = runtime::machine_speed(pool, cpu_features().best_isa());
  }
  measured.notes = model->notes();
  measured.kv = numerics == Numerics::Fp32 ? "f32" : name_of(model->kv_format());
  return measured;
}

void print_table(const ModelFile& file, const Measured& measured) {
  std::printf("%s, %.1f MB, %.1f M parameters, %s\n", visible(file.provenance().name).c_str(),
              static_cast<double>(file.size_bytes()) * 1e-6,
              static_cast<double>(file.config().parameter_count()) * 1e-6, isa_name(cpu_features().best_isa()));
  std::printf("%-10s %8s %8s %8s %14s %10s\n", "test", "batch", "depth", "threads", "tokens/s", "+-");
  for (const runtime::BenchRow& row : measured.rows)
    std::printf("%s%-8lld %8lld %8lld %8d %14.2f %10.2f\n", row.n_prompt > 0 ? "pp" : "tg",
                static_cast<long long>(row.n_prompt + row.n_gen), static_cast<long long>(row.n_parallel),
                static_cast<long long>(row.n_depth), row.n_threads, row.avg_ts, row.stddev_ts);
  std::printf("first token after %.3f s, peak memory %.1f MB\n", measured.first_token_s,
              static_cast<double>(measured.peak_rss_bytes) * 1e-6);
  for (const runtime::BenchRow& row : measured.rows)
    if (row.profile) print_profile(row, measured.machine.at(row.n_threads));
}

// "llama Q4_1": the family, and the type that holds most of the weights.
std::string model_type(const ModelFile& file) {
  std::map<std::string, int64_t> weights;
  for (const TensorSpec& spec : tensor_specs(file.config()))
    weights[format_of(file.tensor(spec.name).type).name] += spec.elements();
  const auto most = std::max_element(weights.begin(), weights.end(),
                                     [](const auto& a, const auto& b) { return a.second < b.second; });
  return std::string(traits(file.config().family).name) + " " + most->first;
}

std::string now_utc() {
  char text[32];
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  ::gmtime_r(&now, &parts);
  std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &parts);
  return text;
}

Json row_json(const ModelFile& file, const runtime::BenchRow& row) {
  Json json;
  json["model_filename"] = file.source();
  json["model_type"] = model_type(file);
  json["model_size"] = file.size_bytes();
  json["model_n_params"] = file.config().parameter_count();
  json["cpu_info"] = cpu_model();
  json["backends"] = "attar";
  json["n_batch"] = runtime::kMaxPassRows;
  json["n_threads"] = row.n_threads;
  json["n_prompt"] = row.n_prompt;
  json["n_gen"] = row.n_gen;
  json["n_depth"] = row.n_depth;
  json["n_parallel"] = row.n_parallel;
  json["test_time"] = now_utc();
  json["avg_ns"] = std::llround(row.avg_ns);
  json["stddev_ns"] = std::llround(row.stddev_ns);
  json["avg_ts"] = row.avg_ts;
  json["stddev_ts"] = row.stddev_ts;
  json["median_ts"] = runtime::quantile(row.samples_ts, 0.5);
  Json& samples_ns = json["samples_ns"] = Json::array();
  for (const double sample : row.samples_ns) samples_ns.push_back(std::llround(sample));
  json["samples_ts"] = row.samples_ts;
  return json;
}

void print_json(const ModelFile& file, const Measured& measured) {
  Json json;
  json["schema_version"] = 1;
  json["model_size"] = file.size_bytes();
  json["model_n_params"] = file.config().parameter_count();
  json["bits_per_weight"] = file.bits_per_weight();
  json["isa"] = isa_name(cpu_features().best_isa());
  json["kv_format"] = measured.kv;
  json["time_to_first_token_s"] = measured.first_token_s;
  json["peak_rss_bytes"] = measured.peak_rss_bytes;
  Json& rows = json["rows"] = Json::array();
  for (const runtime::BenchRow& row : measured.rows) {
    rows.push_back(row_json(file, row));
    if (row.profile) rows.back()["profile"] = profile_json(row, measured.machine.at(row.n_threads));
  }
  json["notes"] = measured.notes;
  std::printf("%s\n", json.dump(1, ' ', false, Json::error_handler_t::replace).c_str());
}

int run(const Options& options, const GlobalOptions& global) {
  resolve_model_path(options.model, global.hub);  // a download is not measured
  const auto start = std::chrono::steady_clock::now();
  const ModelFile file = ModelFile::open(options.model, global.hub);
  const Measured measured = measure_all(options, file, global, start);
  show_notes(measured.notes, global);
  if (global.json)
    print_json(file, measured);
  else
    print_table(file, measured);
  return 0;
}

}  // namespace

Action add_bench(CLI::App& command, const GlobalOptions& global) {
  const auto options = std::make_shared<Options>();
  runtime::BenchOptions& bench = options->bench;
  add_model(command, options->model);
  add_wholes(command, "-p,--n-prompt", bench.prompt_tokens, "prompt lengths to measure; 0 for none", {.least = 0});
  add_wholes(command, "-n,--n-gen", bench.generated_tokens, "generation lengths to measure; 0 for none", {.least = 0});
  add_wholes(command, "-d,--n-depth", bench.depth_tokens, "tokens of context before each measurement", {.least = 0});
  add_wholes(command, "--batch", bench.parallel_sequences, "sequences that generate together: tokens/s of all of them",
             {.least = 1, .most = 4096});
  add_wholes(command, "-t", options->threads, "thread counts to measure; without it --threads", kThreads);
  add_whole(command, "-r,--repetitions", bench.repetitions, "runs of each measurement", {.least = 1});
  FlagAdder flags(command);
  flags(bench.min_seconds, "min_seconds", "repeat each measurement until its runs took as long");
  add_switch(command, "--profile", bench.profile,
             "run each once more, with a clock: what a pass spends on each operation, beside what this machine can do");
  add_numerics(command, options->numerics);
  add_kv(command, options->kv);
  constexpr RenamedField kRenamed[] = {{"fp32", "numerics fp32"}};
  refuse_renamed(command, kRenamed);
  return [options, &command, &global] {
    options->prompt_given = is_given(command, "-p"), options->generated_given = is_given(command, "-n");
    return run(*options, global);
  };
}

}  // namespace attar::cli
