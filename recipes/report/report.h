// The report of a run as people read it, from the text of its report.json.
#pragma once

#include <string>

namespace attar {

// -> one self-contained page: no script, no network, charts as SVG.
std::string report_html(const std::string& report_json);

// -> the table that ends a run on the terminal.
std::string report_table(const std::string& report_json);

}  // namespace attar
