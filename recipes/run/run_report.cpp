#include "recipes/run/run_report.h"

#include <filesystem>
#include <nlohmann/json.hpp>

#include "distill/ranks/ranks.h"
#include "recipes/report/report.h"
#include "recipes/run/machine.h"
#include "runtime/base/atomic_file.h"
#include "runtime/base/input_file.h"
#include "runtime/base/sha256.h"

namespace attar {
namespace {

using Json = nlohmann::ordered_json;

std::string stage_kind(const std::string& name) {
  return name.substr(name.find('-') + 1);
}

// The exported file of this run or of the one that it goes on with.
std::string exported_gguf(const RunState& state) {
  const std::string path = state.folder.file("export/model.gguf");
  return std::filesystem::exists(path) ? path : "";
}

Json provenance(const RunState& state) {
  Json json = {{"attar_version", ATTAR_VERSION},
               {"recipe", state.recipe.name},
               {"recipe_sha256", sha256(resolved_yaml(state.recipe))},
               {"teacher_sha256", state.teacher_hash}};
  if (const std::string gguf = exported_gguf(state); !gguf.empty()) json["gguf_sha256"] = sha256_of_file(gguf);
  return json;
}

}  // namespace

RunOutcome write_report(const RunState& state, const std::vector<StageRecord>& records) {
  Json stages = Json::array(), times = Json::array(), gates = Json::array();
  RunOutcome outcome{.folder = state.folder.path()};
  for (const StageRecord& record : records) {
    const Json results = Json::parse(record.results);
    Json measurements = Json::parse(record.measurements);
    for (Json gate : measurements.value("gates", Json::array())) {
      outcome.gates_passed &= gate.at("pass").get<bool>();
      gate["stage"] = record.name;
      gates.push_back(gate);
    }
    measurements.erase("gates");
    stages.push_back(
        {{"name", record.name}, {"kind", stage_kind(record.name)}, {"results", results}, {"notes", record.notes}});
    times.push_back({{"name", record.name}, {"measurements", measurements}});
  }
  const int ranks = state.options.ranks == nullptr ? 1 : state.options.ranks->size();
  // `results` is the same for the same recipe, seed, machine and ranks; everything that is not lives in `measurements`.
  const Json report = {
      {"schema_version", 1},
      {"name", state.recipe.name},
      {"gates", gates},
      {"results", {{"provenance", provenance(state)}, {"recipe", resolved_yaml(state.recipe)}, {"stages", stages}}},
      {"measurements",
       {{"commands", Json::parse(read_file(state.folder.file("env.json"))).at("commands")},
        {"machine", Json::parse(machine_json(state.threads, ranks))},
        {"stages", times}}}};
  outcome.report = report.dump(1) + "\n";
  outcome.report_json = state.folder.file("report.json");
  outcome.report_html = state.folder.file("report.html");
  outcome.gguf = exported_gguf(state);
  write_file_atomically(outcome.report_json, outcome.report);
  write_file_atomically(outcome.report_html, report_html(outcome.report));
  return outcome;
}

}  // namespace attar
