#include "runtime/judge/measure.h"

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "runtime/base/error.h"
#include "runtime/base/host/child_process.h"
#include "runtime/formats/model_file.h"

namespace attar::runtime {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

// The two models take turns, so that what else the machine does meets both; a round is a child of its own.
constexpr int64_t kRounds = 3;

struct Rounds {
  std::vector<double> prefill_ts{}, decode_ts{}, first_token_s{};
  Efficiency model{};
};

Json bench(const std::string& program, const std::string& model, const std::string& kv, int threads,
           const Progress& progress, const Event& now) {
  const int64_t room = ModelFile::open(model).config().context_length;
  std::vector<std::string> command{program,
                                   "bench",
                                   "-p",
                                   std::to_string(std::min<int64_t>(512, room)),
                                   "-n",
                                   std::to_string(std::min<int64_t>(64, room)),
                                   "-r",
                                   "2",
                                   "--min-seconds",
                                   "0.3",
                                   "-t",
                                   std::to_string(threads),
                                   "--json",
                                   "--quiet",
                                   model};
  if (!kv.empty()) command.insert(command.end(), {"--kv", kv});
  Json json = Json::parse(output_of(command, progress, now), nullptr, false);
  if (!json.is_object() || !json.contains("rows"))
    throw Error(ErrorKind::Failure, {.where = program, .what = "printed no measurement"});
  return json;
}

void add_round(const Json& json, Rounds& rounds) {
  Efficiency& model = rounds.model;
  model.bytes = json.at("model_size"), model.parameters = json.at("model_n_params");
  model.bits_per_weight = json.at("bits_per_weight");
  model.peak_rss_bytes = std::max<uint64_t>(model.peak_rss_bytes, json.at("peak_rss_bytes"));
  rounds.first_token_s.push_back(json.at("time_to_first_token_s"));
  for (const Json& row : json.at("rows")) {
    std::vector<double>& all = row.at("n_prompt") > 0 ? rounds.prefill_ts : rounds.decode_ts;
    for (const double sample : row.at("samples_ts")) all.push_back(sample);
  }
}

Efficiency summary(const Rounds& rounds) {
  const auto rate = [](const std::vector<double>& ts) {
    return Rate{quantile(ts, 0.5), quantile(ts, 0.75) - quantile(ts, 0.25), static_cast<int64_t>(ts.size())};
  };
  Efficiency out = rounds.model;
  out.prefill = rate(rounds.prefill_ts), out.decode = rate(rounds.decode_ts);
  out.time_to_first_token_s = quantile(rounds.first_token_s, 0.5);
  return out;
}

}  // namespace

double quantile(std::vector<double> values, double share) {
  if (values.empty()) return 0.0;
  std::sort(values.begin(), values.end());
  const double at = share * static_cast<double>(values.size() - 1);
  const auto low = static_cast<size_t>(at);
  const double high = values[std::min(low + 1, values.size() - 1)];
  return values[low] + (at - static_cast<double>(low)) * (high - values[low]);
}

std::string runtime_program() {
  std::error_code code;
  return (fs::read_symlink("/proc/self/exe", code).parent_path() / "attar-run").string();
}

Speeds measure_both(const std::string& program, const std::string& teacher, const std::string& student,
                    const std::string& kv, int threads, const Progress& progress) {
  if (!fs::exists(program))
    throw Error(ErrorKind::Failure,
                {.where = program, .what = "is missing", .hint = "build it, or verify with --no-bench"});
  Event now{.stage = "measure", .unit = "runs", .total = 2 * kRounds};
  Rounds teacher_rounds, student_rounds;
  for (int64_t round = 0; round < kRounds; ++round)
    for (const bool is_student : {false, true}) {
      add_round(bench(program, is_student ? student : teacher, is_student ? kv : "", threads, progress, now),
                is_student ? student_rounds : teacher_rounds);
      ++now.done;
    }
  report(progress, now);
  return {summary(teacher_rounds), summary(student_rounds)};
}

}  // namespace attar::runtime
