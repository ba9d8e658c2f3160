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

Efficiency measure(const std::string& program, const std::string& model, int threads, const Progress& progress,
                   const Event& now) {
  const int64_t room = ModelFile::open(model).config().context_length;
  const std::vector<std::string> command{program,  "bench",
                                         "-p",     std::to_string(std::min<int64_t>(512, room)),
                                         "-n",     std::to_string(std::min<int64_t>(64, room)),
                                         "-r",     "3",
                                         "-t",     std::to_string(threads),
                                         "--json", "--quiet",
                                         model};
  const Json json = Json::parse(output_of(command, progress, now), nullptr, false);
  if (!json.is_object() || !json.contains("rows"))
    throw Error(ErrorKind::Failure, {.where = program, .what = "printed no measurement"});
  Efficiency out;
  out.bytes = json.at("model_size"), out.parameters = json.at("model_n_params"),
  out.bits_per_weight = json.at("bits_per_weight");
  out.time_to_first_token_s = json.at("time_to_first_token_s"), out.peak_rss_bytes = json.at("peak_rss_bytes");
  for (const Json& row : json.at("rows"))
    (row.at("n_prompt") > 0 ? out.prefill_tokens_per_s : out.decode_tokens_per_s) = row.at("median_ts");
  return out;
}

}  // namespace

std::string runtime_program() {
  std::error_code code;
  return (fs::read_symlink("/proc/self/exe", code).parent_path() / "attar-run").string();
}

Speeds measure_both(const std::string& program, const std::string& teacher, const std::string& student, int threads,
                    const Progress& progress) {
  if (!fs::exists(program))
    throw Error(ErrorKind::Failure,
                {.where = program, .what = "is missing", .hint = "build it, or verify with --no-bench"});
  Event now{.stage = "measure", .unit = "models", .total = 2};
  Speeds speeds;
  speeds.teacher = measure(program, teacher, threads, progress, now);
  ++now.done;
  speeds.student = measure(program, student, threads, progress, now);
  ++now.done;
  report(progress, now);
  return speeds;
}

}  // namespace attar::runtime
