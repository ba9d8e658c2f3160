// The parts of a run's page, top to bottom. Each is nothing where the report does not hold what it shows.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "recipes/report/run_summary.h"

namespace attar {

// What came of it (result_sections.cpp).
std::string header_html(const RunSummary& run);
std::string comparison_with_baseline(const RunSummary& run);
// Of one verify stage; `heading` tells two of them apart.
std::string verification_html(const Json& report, size_t stage, const std::string& heading, const RunSummary& run);

// Of each training that was compared with its controls (arms_section.cpp).
std::string arms_html(const Json& report);

// How it was made (making_sections.cpp).
std::string curves_html(const Json& report);
std::string compression_html(const Json& report);
std::string data_html(const Json& report);
std::string files_html(const Json& report);
std::string stages_html(const Json& report);
std::string provenance_html(const Json& report);

}  // namespace attar
