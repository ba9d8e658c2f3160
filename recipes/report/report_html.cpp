// report.html of one run: the parts of sections.h in order.
#include <nlohmann/json.hpp>

#include "recipes/report/page.h"
#include "recipes/report/report.h"
#include "recipes/report/sections.h"

namespace attar {
namespace {

// Each verify stage judges what the stages before it made; where there are two they say so.
std::string verifications(const Json& report, const RunSummary& run) {
  const Json& stages = report.at("results").at("stages");
  size_t count = 0;
  for (const Json& stage : stages) count += text_at(stage, "kind") == "verify" ? 1 : 0;
  std::string out, before;
  for (size_t i = 0; i < stages.size(); ++i) {
    const std::string kind = text_at(stages[i], "kind"), name = text_at(stages[i], "name");
    if (kind == "verify")
      out += verification_html(
          report, i,
          count == 1 ? "Verification" : "Verification " + escaped(name) + "<small> after " + before + "</small>", run);
    else if (kind != "teacher" && kind != "data")
      before += (before.empty() ? "" : ", ") + escaped(name);
  }
  return out;
}

}  // namespace

std::string report_html(const std::string& report_json) {
  const Json report = Json::parse(report_json);
  const RunSummary run = summary_of(report);
  const std::string version = text_at(report.at("results").at("provenance"), "attar_version");
  return page(run.name + ": " + verdict(run),
              header_html(run) + section("Against quantizing alone", comparison_with_baseline(run)) +
                  verifications(report, run) + arms_html(report) + curves_html(report) + compression_html(report) +
                  data_html(report) + files_html(report) + stages_html(report) + provenance_html(report),
              "Made and judged by Attar " + escaped(version) + ".");
}

}  // namespace attar
