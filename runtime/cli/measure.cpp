#include "runtime/cli/measure.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "runtime/base/error.h"

extern char** environ;

namespace attar::cli {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

// Runs a program and returns what it wrote on stdout.
std::string output_of(const std::vector<std::string>& command) {
  int pipe_ends[2];
  if (::pipe2(pipe_ends, O_CLOEXEC) != 0)
    throw Error(ErrorKind::Resources, {.where = command[0], .what = "no pipe could be made"});
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_adddup2(&actions, pipe_ends[1], STDOUT_FILENO);
  std::vector<char*> arguments;
  for (const std::string& word : command) arguments.push_back(const_cast<char*>(word.c_str()));
  arguments.push_back(nullptr);
  pid_t child = 0;
  const int failed = ::posix_spawn(&child, command[0].c_str(), &actions, nullptr, arguments.data(), environ);
  ::posix_spawn_file_actions_destroy(&actions);
  ::close(pipe_ends[1]);
  std::string text;
  char buffer[4096];
  for (ssize_t got = 0; failed == 0 && (got = ::read(pipe_ends[0], buffer, sizeof buffer)) != 0;)
    if (got > 0)
      text.append(buffer, static_cast<size_t>(got));
    else if (errno != EINTR)
      break;
  ::close(pipe_ends[0]);
  int status = 0;
  if (failed == 0) ::waitpid(child, &status, 0);
  if (failed != 0 || !WIFEXITED(status) || WEXITSTATUS(status) != 0)
    throw Error(ErrorKind::Failure, {.where = command[0],
                                     .what = "the measurement failed",
                                     .hint = "run it by hand to see why: " + command[0] + " bench " + command.back()});
  return text;
}

Json spread_json(const runtime::Spread& s) {
  return {{"mean", s.mean}, {"stderr", s.stderr_}, {"p50", s.p50}, {"p90", s.p90}, {"p99", s.p99}, {"max", s.max}};
}
Json pair_json(const runtime::Pair& p) {
  return {{"teacher", p.teacher}, {"student", p.student}, {"ratio", p.ratio}};
}

Json fidelity_json(const std::optional<runtime::Fidelity>& fidelity) {
  if (!fidelity) return nullptr;
  return {{"kl", spread_json(fidelity->kl)},
          {"top1_agreement", fidelity->top1_agreement},
          {"top5_overlap", fidelity->top5_overlap},
          {"perplexity", pair_json(fidelity->perplexity)},
          {"bits_per_byte", pair_json(fidelity->bits_per_byte)},
          {"dropped_mass", fidelity->dropped_mass}};
}

Json efficiency_json(const std::optional<runtime::Efficiency>& e) {
  if (!e) return nullptr;
  return {{"bytes", e->bytes},
          {"parameters", e->parameters},
          {"bits_per_weight", e->bits_per_weight},
          {"prefill_tokens_per_s", e->prefill_tokens_per_s},
          {"decode_tokens_per_s", e->decode_tokens_per_s},
          {"time_to_first_token_s", e->time_to_first_token_s},
          {"peak_rss_bytes", e->peak_rss_bytes}};
}

}  // namespace

std::string runtime_program() {
  std::error_code code;
  return (fs::read_symlink("/proc/self/exe", code).parent_path() / "attar-run").string();
}

runtime::Efficiency measure(const std::string& program, const std::string& model, int threads) {
  if (!fs::exists(program))
    throw Error(ErrorKind::Failure,
                {.where = program, .what = "is missing", .hint = "build it, or verify with --no-bench"});
  const int64_t room = ModelFile::open(model).config().context_length;
  const std::string text = output_of({program, "bench", "-p", std::to_string(std::min<int64_t>(512, room)), "-n",
                                      std::to_string(std::min<int64_t>(64, room)), "-r", "3", "-t",
                                      std::to_string(threads), "--json", "--quiet", model});
  const Json json = Json::parse(text, nullptr, false);
  if (!json.is_object() || !json.contains("rows"))
    throw Error(ErrorKind::Failure, {.where = program, .what = "printed no measurement"});
  runtime::Efficiency out;
  out.bytes = json.at("model_size"), out.parameters = json.at("model_n_params"),
  out.bits_per_weight = json.at("bits_per_weight");
  out.time_to_first_token_s = json.at("time_to_first_token_s"), out.peak_rss_bytes = json.at("peak_rss_bytes");
  for (const Json& row : json.at("rows"))
    (row.at("n_prompt") > 0 ? out.prefill_tokens_per_s : out.decode_tokens_per_s) = row.at("median_ts");
  return out;
}

std::string verify_document(const runtime::VerifyResults& results, const std::optional<runtime::Efficiency>& teacher,
                            const std::optional<runtime::Efficiency>& student,
                            const std::vector<runtime::GateResult>& gates) {
  Json gate_list = Json::array();
  for (const runtime::GateResult& gate : gates)
    gate_list.push_back({{"name", gate.name}, {"limit", gate.limit}, {"value", gate.value}, {"pass", gate.pass}});
  const Json document = {
      {"schema_version", 1},
      {"results",
       {{"text_sha256", results.text_sha256},
        {"context", results.context},
        {"windows", results.windows},
        {"scored_tokens", results.scored_tokens},
        {"skipped_tokens", results.skipped_tokens},
        {"fp32", fidelity_json(results.fp32)},
        {"deployed", fidelity_json(results.deployed)}}},
      {"measurements", {{"teacher", efficiency_json(teacher)}, {"student", efficiency_json(student)}}},
      {"gates", gate_list}};
  return document.dump(1) + "\n";
}

}  // namespace attar::cli
