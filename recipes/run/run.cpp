#include "recipes/run/run.h"

#include <chrono>
#include <cstdio>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "distill/pass/device.h"
#include "distill/ranks/ranks.h"
#include "recipes/run/folder/kept_recipe.h"
#include "recipes/run/machine.h"
#include "recipes/run/resumable.h"
#include "recipes/run/run_report.h"
#include "recipes/run/run_state.h"
#include "recipes/schema/inputs.h"
#include "runtime/base/atomic_file.h"
#include "runtime/base/error.h"
#include "runtime/base/host/cpu_limits.h"
#include "runtime/base/host/freed_memory.h"
#include "runtime/base/input_file.h"
#include "runtime/base/words/utf8.h"
#include "runtime/judge/benchmark.h"

namespace attar {
namespace {

using Json = nlohmann::ordered_json;

bool changes_student(const Stage& stage) {
  return std::holds_alternative<PruneOptions>(stage) || std::holds_alternative<DistillStage>(stage);
}

std::string numbered_name(const Recipe& recipe, size_t index) {
  return std::to_string(index + 1) + "-" + stage_name(recipe.stages[index]);
}

// Runs `work`, adds its wall time and peak memory to the record and keeps the record in the run folder. A finished
// stage is not run again.
template <class Work>
StageRecord finish_once(RunState& state, const std::string& name, Work&& work) {
  if (std::optional<StageRecord> done = state.folder.record(name)) {
    state.log.write(LogLevel::Info, name + ": done before");
    work(true);
    return *done;
  }
  state.log.write(LogLevel::Info, name + ": begins");
  give_back_freed_memory();  // so that the peak is this stage's own
  runtime::reset_peak_rss();
  const auto start = std::chrono::steady_clock::now();
  StageRecord record = work(false);
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  const int64_t peak_bytes = runtime::peak_rss_bytes();
  Json measurements = Json::parse(record.measurements);
  measurements["seconds"] = seconds;
  measurements["peak_rss_bytes"] = peak_bytes;
  record.measurements = measurements.dump();
  record.name = name;
  state.folder.write_record(record);
  for (const std::string& note : record.notes) state.log.write(LogLevel::Warning, name + ": " + note);
  char line[120];
  std::snprintf(line, sizeof line, "%s: ends after %.1f s, at most %.0f MB", name.c_str(), seconds,
                static_cast<double>(peak_bytes) * 1e-6);
  state.log.write(LogLevel::Info, line);
  return record;
}

// The student that the first unfinished stage starts from. Quantized codes are not kept: they are made again when the
// export that needs them is not there.
size_t first_stage_to_run(RunState& state) {
  const Recipe& recipe = state.recipe;
  size_t first = 0;
  while (first < recipe.stages.size() && state.folder.record(numbered_name(recipe, first))) ++first;
  bool needs_student = false;
  for (size_t i = first; i < recipe.stages.size(); ++i)
    needs_student |= !std::holds_alternative<VerifyStage>(recipe.stages[i]);
  if (!needs_student) return first;

  size_t model_stage = first;
  while (model_stage > 0 && !changes_student(recipe.stages[model_stage - 1])) --model_stage;
  if (model_stage == 0)
    start_student(state);
  else
    restore_student(state, numbered_name(recipe, model_stage - 1));

  size_t next_export = first;
  while (next_export < recipe.stages.size() && !std::holds_alternative<ExportOptions>(recipe.stages[next_export]))
    ++next_export;
  for (size_t i = 0; i < first && next_export < recipe.stages.size(); ++i)
    if (const auto* quantize = std::get_if<QuantizeOptions>(&recipe.stages[i]))
      run_stage(state, numbered_name(recipe, i), *quantize);
  return first;
}

// A GPU that a training asks for is here: before anything is made, not when its turn comes.
void require_devices(const Recipe& recipe) {
  if (recipe.teacher.pretrain) device_here(recipe.teacher.pretrain->device);
  for (const Stage& stage : recipe.stages)
    if (const auto* distill = std::get_if<DistillStage>(&stage)) device_here(distill->device);
}

// Where and how this run was started, each start a command.
std::string environment_json(const RunFolder& folder, const Recipe& recipe, int threads, int ranks) {
  const std::string path = folder.file("env.json");
  Json commands = Json::array(), origin;
  if (std::filesystem::exists(path)) {
    const Json before = Json::parse(read_file(path), nullptr, false);
    if (before.is_object()) {
      commands = before.value("commands", Json::array());
      origin = before.value("recipe", Json());
    }
  }
  if (!origin.is_object()) origin = Json::parse(origin_json(origin_of(recipe)));  // a resume keeps the first
  if (const std::string command = command_line(); commands.empty() || commands.back() != command)
    commands.push_back(command);
  Json json = Json::parse(machine_json(threads, ranks));
  json["folder"] = std::filesystem::current_path().string();
  json["commands"] = commands;
  json["recipe"] = origin;
  return json.dump(1, ' ', false, Json::error_handler_t::replace) + "\n";  // names of files may be no UTF-8
}

// Where the paths of a recipe start, wherever its run lies; seen from the run where YAML cannot hold the whole name.
std::string folder_of_paths(const Recipe& recipe, const std::string& run) {
  namespace fs = std::filesystem;
  const auto holds = [](const std::string& text) { return valid_utf8_prefix(text) == text.size(); };
  const fs::path folder = fs::weakly_canonical(fs::absolute(recipe.path).parent_path());
  if (holds(folder.string())) return folder.string();
  const std::string seen = folder.lexically_relative(fs::weakly_canonical(fs::absolute(run))).string();
  if (seen.empty() || !holds(seen))
    throw usage_error(printable(folder.string()), "is a name that no recipe can hold", "UTF-8", "",
                      "rename it, or run in a folder below it");
  return seen;
}

std::vector<StageRecord> run_stages(RunState& state, StagePlace& place) {
  std::vector<StageRecord> records;
  const size_t before = state.recipe.teacher.pretrain ? 2 : 1;  // places in front of the recipe's own stages
  place.enter(1);
  records.push_back(finish_once(state, "0-teacher", [&](bool) { return prepare_teacher(state); }));
  place.enter(before);
  records.push_back(finish_once(state, "0-data", [&](bool) { return prepare_data(state); }));

  const std::vector<Stage>& stages = state.recipe.stages;
  const size_t first = first_stage_to_run(state);
  for (size_t i = 0; i < stages.size(); ++i) {
    const std::string name = numbered_name(state.recipe, i);
    if (i < first) {
      state.log.write(LogLevel::Info, name + ": done before");
      records.push_back(*state.folder.record(name));
      continue;
    }
    place.enter(before + i + 1);
    records.push_back(finish_once(state, name, [&](bool) {
      return std::visit([&](const auto& stage) { return run_stage(state, name, stage); }, stages[i]);
    }));
  }
  return records;
}

}  // namespace

RunOutcome run_recipe(const Recipe& given, const RunOptions& options, const Progress& progress) {
  require_measurable(given, options);
  if (!options.resume) require_devices(given);  // a resume may have those trainings behind it
  const Recipe recipe = with_pinned_models(given, progress);
  const std::string path = options.folder.empty() ? "runs/" + recipe.name : options.folder;
  const RecipeInputs inputs = open_inputs(recipe);
  RunFolder folder(path, resolved_yaml(recipe), folder_of_paths(recipe, path), inputs.sha256, options.resume);
  const int threads = options.threads > 0 ? options.threads : default_threads();
  const int ranks = options.ranks == nullptr ? 1 : options.ranks->size();
  write_file_atomically(folder.file("env.json"), environment_json(folder, recipe, threads, ranks));

  const RunLog log(options.log, folder.file("log.txt"));
  std::string on = std::to_string(threads) + " threads";
  if (ranks > 1) on += ", in " + std::to_string(ranks) + " ranks of " + std::to_string(options.ranks->threads());
  log.write(LogLevel::Info, "Attar " ATTAR_VERSION " runs " + recipe.name + " on " + on + ": " + command_line());
  StagePlace place(progress ? planned_seconds(recipe, options, inputs) : std::vector<double>());
  const Progress watched = place.watching(log.watching(progress));
  RunState state{recipe, inputs, options, folder, watched, log, threads};
  const std::string nothing = "nothing to resume in " + path + ": it starts from the beginning";
  return log.around([&] {
    return resumable("attar run --resume " + shell_quoted(path) + " goes on", [&] {
      if (options.resume && folder.began_here()) report(watched, {.stage = "run", .unit = {}, .message = nothing});
      const std::vector<StageRecord> records = run_stages(state, place);
      RunOutcome outcome = write_report(state, records);
      log.write(LogLevel::Info, outcome.gates_passed ? "done" : "done; a gate was missed");
      return outcome;
    });
  });
}

}  // namespace attar
