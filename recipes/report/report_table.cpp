// A run on the terminal.
#include <cstdio>
#include <nlohmann/json.hpp>

#include "recipes/report/report.h"
#include "recipes/report/run_summary.h"
#include "runtime/judge/digits.h"
#include "runtime/judge/headline.h"

namespace attar {
namespace {

std::string stage_lines(const Json& report) {
  std::string text;
  char line[256];
  for (const Json& stage : report.at("measurements").at("stages")) {
    const Json& spent = stage.at("measurements");
    std::snprintf(line, sizeof line, "  %-14s %8.1f s %8.0f MB\n", text_at(stage, "name").c_str(),
                  spent.value("seconds", 0.0), spent.value("peak_rss_bytes", 0.0) * 1e-6);
    text += line;
  }
  return text;
}

// The numbers of the last verify stage.
std::string verified_lines(const Json& report, const RunSummary& run) {
  const Json& stages = report.at("results").at("stages");
  for (size_t i = 0; i < stages.size(); ++i) {
    if (text_at(stages[i], "name") != run.verify_stage) continue;
    const Json& measured = report.at("measurements").at("stages").at(i).at("measurements");
    std::vector<runtime::HeadlineRow> rows = runtime::efficiency_rows(measured.dump());
    if (rows.empty())
      rows.push_back(
          runtime::size_row(static_cast<uint64_t>(run.teacher_bytes), static_cast<uint64_t>(run.student.bytes)));
    return "\n" + runtime::headline_title() + runtime::headline_lines(rows) +
           runtime::headline_lines(runtime::fidelity_rows(stages[i].at("results").at(run.numerics).dump())) +
           runtime::headline_note();
  }
  return "";
}

std::string arms_of_stages(const Json& report) {
  std::string text;
  for (const Json& stage : report.at("results").at("stages"))
    if (const Json& results = stage.at("results"); results.contains("arms"))
      text += "\n" + text_at(stage, "name") + ": does distilling pay?\n" + arms_lines(results.at("arms").dump());
  return text;
}

}  // namespace

std::string report_table(const std::string& report_json) {
  const Json report = Json::parse(report_json);
  const RunSummary run = summary_of(report);
  std::string text = stage_lines(report) + verified_lines(report, run) + arms_of_stages(report);
  if (run.baseline)
    text += "  quantizing alone, " + megabytes(run.baseline->bytes) + ": KL " +
            runtime::to_spread(run.baseline->kl, run.baseline->kl_stderr) + ", same likeliest token " +
            percent(run.baseline->top1, run.baseline->top1_stderr) + "\n";
  char line[256];
  for (const ReportGate& gate : run.gates) {
    std::snprintf(line, sizeof line, "  gate %-23s%18s %18s %9s\n", gate.name.c_str(),
                  (gate.limit_is + " " + gate_limit(gate)).c_str(), gate_value(gate).c_str(),
                  gate.pass ? "passed" : "MISSED");
    text += line;
  }
  text += "\n" + run.name + ": " + verdict(run) + "\n";
  for (const std::string& warning : warnings(run)) text += warning + "\n";
  return text;
}

bool report_passes(const std::string& report_json) {
  return summary_of(Json::parse(report_json)).passes();
}

}  // namespace attar
