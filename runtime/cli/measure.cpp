#include "runtime/cli/measure.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
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

struct Child {
  pid_t pid = -1;
  int output = -1;  // the end of a pipe that its stdout goes into
};

Child start(const std::vector<std::string>& command) {
  int pipe_ends[2];
  if (::pipe2(pipe_ends, O_CLOEXEC) != 0)
    throw Error(ErrorKind::Resources, {.where = command[0], .what = "no pipe could be made"});
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_adddup2(&actions, pipe_ends[1], STDOUT_FILENO);
  std::vector<char*> arguments;
  for (const std::string& word : command) arguments.push_back(const_cast<char*>(word.c_str()));
  arguments.push_back(nullptr);
  Child child;
  const int failed = ::posix_spawn(&child.pid, command[0].c_str(), &actions, nullptr, arguments.data(), environ);
  ::posix_spawn_file_actions_destroy(&actions);
  ::close(pipe_ends[1]);
  if (failed != 0) {
    ::close(pipe_ends[0]);
    throw Error(ErrorKind::Resources, {.where = command[0], .what = "could not be started"});
  }
  child.output = pipe_ends[0];
  return child;
}

// What the child writes until it ends. A signal may come just before a read begins, so it waits in short turns and asks
// `progress` between them.
std::string read_all(const Child& child, const Progress& progress, const Event& now) {
  constexpr int kTurn_ms = 100;
  std::string text;
  char buffer[4096];
  for (;;) {
    report(progress, now);
    struct pollfd ready {
      child.output, POLLIN, 0
    };
    if (::poll(&ready, 1, kTurn_ms) <= 0) continue;
    const ssize_t got = ::read(child.output, buffer, sizeof buffer);
    if (got > 0) text.append(buffer, static_cast<size_t>(got));
    if (got == 0 || (got < 0 && errno != EINTR)) return text;
  }
}

int exit_status(const Child& child) {
  ::close(child.output);
  int status = 0;
  while (::waitpid(child.pid, &status, 0) < 0 && errno == EINTR) {
  }
  return status;
}

// Runs a program and returns what it wrote on stdout. Stopped, it kills the program.
std::string output_of(const std::vector<std::string>& command, const Progress& progress, const Event& now) {
  const Child child = start(command);
  std::string text;
  try {
    text = read_all(child, progress, now);
  } catch (...) {
    ::kill(child.pid, SIGKILL);
    exit_status(child);
    throw;
  }
  const int status = exit_status(child);
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return text;
  const bool stopped = WIFSIGNALED(status) ? WTERMSIG(status) == SIGINT || WTERMSIG(status) == SIGTERM
                                           : WEXITSTATUS(status) == static_cast<int>(ErrorKind::Interrupted);
  if (stopped)  // Ctrl-C goes to the whole process group
    throw Error(ErrorKind::Interrupted, {.where = std::string(now.stage), .what = "interrupted"});
  throw Error(ErrorKind::Failure, {.where = command[0],
                                   .what = "the measurement failed",
                                   .hint = "run it by hand to see why: " + command[0] + " bench " + command.back()});
}

runtime::Efficiency measure(const std::string& program, const std::string& model, int threads, const Progress& progress,
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
  runtime::Efficiency out;
  out.bytes = json.at("model_size"), out.parameters = json.at("model_n_params"),
  out.bits_per_weight = json.at("bits_per_weight");
  out.time_to_first_token_s = json.at("time_to_first_token_s"), out.peak_rss_bytes = json.at("peak_rss_bytes");
  for (const Json& row : json.at("rows"))
    (row.at("n_prompt") > 0 ? out.prefill_tokens_per_s : out.decode_tokens_per_s) = row.at("median_ts");
  return out;
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

std::string verify_document(const runtime::VerifyResults& results, const Speeds& speeds,
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
      {"measurements", {{"teacher", efficiency_json(speeds.teacher)}, {"student", efficiency_json(speeds.student)}}},
      {"gates", gate_list},
      {"notes", results.notes}};
  return document.dump(1) + "\n";
}

}  // namespace attar::cli
