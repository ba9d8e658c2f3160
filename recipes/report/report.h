// The report of a run as people read it, from the text of its report.json; and of several, side by side.
#pragma once

#include <string>
#include <vector>

namespace attar {

// -> one self-contained page: no script, no network, light or dark as the reader's system is.
std::string report_html(const std::string& report_json);

// -> the table that ends a run on the terminal.
std::string report_table(const std::string& report_json);

// The `arms` of a training's results as a table for the terminal, and the sentence that they come to.
std::string arms_lines(const std::string& arms_json);

// Whether every gate of the run was met.
bool report_passes(const std::string& report_json);

// A run that is compared: what it is called and the text of its report.json.
struct NamedReport {
  std::string name, json;
};
// Reports side by side, in the order given: a page, a table for the terminal, a JSON document (runtime/cli/JSON.md).
// Each says what makes the runs hard to compare: another teacher, text, context or machine.
std::string comparison_html(const std::vector<NamedReport>& reports);
std::string comparison_table(const std::vector<NamedReport>& reports);
std::string comparison_json(const std::vector<NamedReport>& reports);

}  // namespace attar
