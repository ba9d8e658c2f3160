// report: a run again, or several side by side.
#include "recipes/report/report.h"

#include <CLI/CLI.hpp>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>

#include "recipes/cli/verbs.h"
#include "runtime/base/atomic_file.h"
#include "runtime/base/error.h"
#include "runtime/base/input_file.h"
#include "runtime/cli/flags.h"
#include "runtime/cli/terminal/terminal.h"

namespace attar::cli {
namespace {

namespace fs = std::filesystem;

struct Options {
  std::vector<std::string> runs;
  std::string out;
};

// A run folder, or its report.json wherever that lies.
NamedReport read_report(const std::string& run) {
  const bool is_folder = fs::is_directory(run);
  const fs::path file = is_folder ? fs::path(run) / "report.json" : fs::path(run);
  if (!fs::exists(file))
    throw input_error(run, is_folder ? "holds no report" : "is missing",
                      "the folder of a finished run, or its report.json", "",
                      is_folder ? "finish the run: attar run RECIPE --resume --out " + run : "");
  NamedReport report{.name = {}, .json = read_file(file.string())};
  const Error wrong = input_error(file.string(), "is no report, or a damaged one",
                                  "the report.json that attar run writes", "", "attar run --resume writes it again");
  const auto json = nlohmann::json::parse(report.json, nullptr, false);
  if (!json.is_object() || !json.contains("results") || !json.contains("measurements")) throw wrong;
  try {
    report.name = json.value("name", "");
    report_html(report.json);  // which reads all of it
  } catch (const nlohmann::json::exception&) {
    throw wrong;
  }
  return report;
}

// Names that tell the runs apart: the recipe's, or where two are the same the folder.
void tell_apart(const std::vector<std::string>& runs, std::vector<NamedReport>& reports) {
  std::vector<std::string> names;
  for (const NamedReport& report : reports) names.push_back(report.name);
  for (size_t i = 0; i < reports.size(); ++i)
    if (std::count(names.begin(), names.end(), names[i]) > 1) reports[i].name = runs[i];
}

// The page of a run anew, unless it lies where only others may write: then it stays, and that is said. -> its path
std::string page_again(const std::string& run, const NamedReport& report, const GlobalOptions& global) {
  std::string page = (fs::path(run) / "report.html").string();
  try {
    write_file_atomically(page, report_html(report.json));
  } catch (const Error& error) {
    show_notes({std::string("the page is not made again: ") + error.what()}, global);
    if (!path_exists(page)) page.clear();
  }
  return page;
}

int report_one(const std::string& run, const NamedReport& report, const std::string& out, const GlobalOptions& global) {
  std::string page = out;
  if (!out.empty())
    write_file_atomically(out, report_html(report.json));
  else if (fs::is_directory(run))
    page = page_again(run, report, global);
  std::printf("%s", global.json ? report.json.c_str() : report_table(report.json).c_str());
  if (!global.json && !page.empty()) std::printf("\nreport  %s\n", page.c_str());
  return report_passes(report.json) ? 0 : static_cast<int>(ErrorKind::GateMissed);
}

int report_several(const std::vector<NamedReport>& reports, const std::string& out, const GlobalOptions& global) {
  if (!out.empty()) write_file_atomically(out, comparison_html(reports));
  std::printf("%s", (global.json ? comparison_json(reports) : comparison_table(reports)).c_str());
  if (!global.json && !out.empty()) std::printf("\nreport  %s\n", out.c_str());
  const bool passed =
      std::all_of(reports.begin(), reports.end(), [](const NamedReport& report) { return report_passes(report.json); });
  return passed ? 0 : static_cast<int>(ErrorKind::GateMissed);
}

int run(const Options& options, const GlobalOptions& global) {
  if (!options.out.empty() && fs::path(options.out).extension() != ".html")
    throw usage_error("--out", "is a page", "a name ending in .html", printable(options.out));
  std::vector<NamedReport> reports;
  for (const std::string& one : options.runs) reports.push_back(read_report(one));
  if (reports.size() == 1) return report_one(options.runs[0], reports[0], options.out, global);
  tell_apart(options.runs, reports);
  return report_several(reports, options.out, global);
}

}  // namespace

Action add_report(CLI::App& command, const GlobalOptions& global) {
  const auto options = std::make_shared<Options>();
  command
      .add_option("RUN", options->runs,
                  "a run folder such as runs/tiny, whose page is made again; or several, which are compared")
      ->required();
  add_text(command, "-o,--out", options->out, "write the page there: a file ending in .html");
  return [options, &global] { return run(*options, global); };
}

}  // namespace attar::cli
