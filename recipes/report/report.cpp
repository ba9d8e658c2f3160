#include "recipes/report/report.h"

#include <cstdio>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "recipes/run/machine.h"
#include "runtime/base/atomic_file.h"
#include "runtime/base/mapped_file.h"
#include "runtime/base/sha256.h"

namespace attar {
namespace {

using Json = nlohmann::ordered_json;

std::string stage_kind(const std::string& name) {
  return name.substr(name.find('-') + 1);
}

// The exported file of this run or of the one that it goes on with.
std::string exported_gguf(const Session& session) {
  const std::string path = session.folder.file("export/model.gguf");
  return std::filesystem::exists(path) ? path : "";
}

Json provenance(const Session& session) {
  Json json = {{"attar_version", ATTAR_VERSION},
               {"recipe", session.recipe.name},
               {"recipe_sha256", sha256(resolved_yaml(session.recipe))},
               {"teacher_sha256", session.teacher->content_hash()}};
  if (const std::string gguf = exported_gguf(session); !gguf.empty()) json["gguf_sha256"] = sha256_of_file(gguf);
  return json;
}

// A row of the headline table: what is measured, teacher, student.
struct HeadlineRow {
  const char* label;
  const char* key;
  double scale;
  const char* format;
};
constexpr HeadlineRow kHeadline[] = {
    {"file size, MB", "bytes", 1e-6, "%.1f"},
    {"parameters, M", "parameters", 1e-6, "%.1f"},
    {"bits per weight", "bits_per_weight", 1.0, "%.2f"},
    {"prompt, tokens/s", "prefill_tokens_per_s", 1.0, "%.0f"},
    {"generation, tokens/s", "decode_tokens_per_s", 1.0, "%.1f"},
    {"time to first token, s", "time_to_first_token_s", 1.0, "%.3f"},
    {"peak memory, MB", "peak_rss_bytes", 1e-6, "%.0f"},
};

std::string number(double value, const char* format) {
  char text[64];
  std::snprintf(text, sizeof text, format, value);
  return text;
}

// The last verify stage of a report, or nullptr.
const Json* last_verify(const Json& report) {
  const Json* found = nullptr;
  for (const Json& stage : report.at("stages"))
    if (stage.at("kind") == "verify") found = &stage;
  return found;
}

}  // namespace

RunOutcome write_report(const Session& session, const std::vector<StageRecord>& records) {
  Json stages = Json::array(), times = Json::array();
  RunOutcome outcome{.folder = session.folder.path()};
  for (const StageRecord& record : records) {
    const Json results = Json::parse(record.results), measurements = Json::parse(record.measurements);
    stages.push_back(
        {{"name", record.name}, {"kind", stage_kind(record.name)}, {"results", results}, {"notes", record.notes}});
    times.push_back({{"name", record.name}, {"measurements", measurements}});
    for (const Json& gate : measurements.value("gates", Json::array()))
      outcome.gates_passed &= gate.at("pass").get<bool>();
  }
  // `results` is the same for the same recipe, seed and machine; everything that is not lives in `measurements`.
  const Json report = {
      {"schema_version", 1},
      {"name", session.recipe.name},
      {"results", {{"provenance", provenance(session)}, {"recipe", resolved_yaml(session.recipe)}, {"stages", stages}}},
      {"measurements",
       {{"commands", Json::parse(read_file(session.folder.file("env.json"))).at("commands")},
        {"machine", Json::parse(machine_json(session.threads))},
        {"stages", times}}}};
  outcome.report = report.dump(1) + "\n";
  outcome.report_json = session.folder.file("report.json");
  outcome.report_html = session.folder.file("report.html");
  outcome.gguf = exported_gguf(session);
  write_file_atomically(outcome.report_json, outcome.report);
  write_file_atomically(outcome.report_html, report_html(outcome.report));
  return outcome;
}

std::string layer_cuts_json(const std::vector<LayerCut>& cuts) {
  Json layers = Json::array();
  for (const LayerCut& cut : cuts)
    layers.push_back({{"layer", cut.layer},
                      {"channels", cut.kept_channels.size()},
                      {"kv_groups", cut.kept_kv_groups.size()},
                      {"relative_error", cut.relative_error}});
  return layers.dump();
}

std::string report_table(const std::string& report_json) {
  const Json report = Json::parse(report_json);
  std::string text;
  char line[256];
  for (const Json& stage : report.at("measurements").at("stages")) {
    const Json& spent = stage.at("measurements");
    std::snprintf(line, sizeof line, "  %-14s %8.1f s %8.0f MB\n", stage.at("name").get<std::string>().c_str(),
                  spent.value("seconds", 0.0), spent.value("peak_rss_bytes", 0.0) * 1e-6);
    text += line;
  }
  const Json* verify = last_verify(report.at("results"));
  if (verify == nullptr) return text;
  Json measured;
  for (const Json& stage : report.at("measurements").at("stages"))
    if (stage.at("name") == verify->at("name")) measured = stage.at("measurements");
  std::snprintf(line, sizeof line, "\n  %-24s %14s %14s\n", "", "teacher", "student");
  text += line;
  for (const HeadlineRow& row : kHeadline) {
    const Json teacher = measured.value("teacher", Json::object()), student = measured.value("student", Json::object());
    if (!teacher.contains(row.key) || !student.contains(row.key)) continue;
    std::snprintf(line, sizeof line, "  %-24s %14s %14s\n", row.label,
                  number(teacher.at(row.key).get<double>() * row.scale, row.format).c_str(),
                  number(student.at(row.key).get<double>() * row.scale, row.format).c_str());
    text += line;
  }
  const Json& results = verify->at("results");
  const char* mode = results.contains("deployed") && !results.at("deployed").is_null() ? "deployed" : "fp32";
  const Json& fidelity = results.at(mode);
  std::snprintf(line, sizeof line, "  %-24s %14s %14s\n", "perplexity",
                number(fidelity.at("perplexity").at("teacher"), "%.2f").c_str(),
                number(fidelity.at("perplexity").at("student"), "%.2f").c_str());
  text += line;
  std::snprintf(
      line, sizeof line, "  %-24s %14s %14s\n", "KL to the teacher, nats", "",
      (number(fidelity.at("kl").at("mean"), "%.4f") + " ± " + number(fidelity.at("kl").at("stderr"), "%.4f")).c_str());
  text += line;
  std::snprintf(line, sizeof line, "  %-24s %14s %13s%%\n", "same likeliest token", "",
                number(100.0 * fidelity.at("top1_agreement").get<double>(), "%.1f").c_str());
  text += line;
  for (const Json& gate : measured.value("gates", Json::array())) {
    std::snprintf(line, sizeof line, "  gate %-19s %14s %14s\n", gate.at("name").get<std::string>().c_str(),
                  ("limit " + number(gate.at("limit"), "%g")).c_str(),
                  gate.at("pass").get<bool>() ? "passed" : "MISSED");
    text += line;
  }
  return text;
}

}  // namespace attar
