// The table that a verification is read by: one list of rows for the terminal, the run's report and its page.
#pragma once

#include <string>
#include <vector>

namespace attar::runtime {

struct HeadlineRow {
  std::string label, teacher, student;  // as shown; teacher is empty where only the student has a number
  double ratio;                         // student / teacher, or NaN
};

// `measurements_json`: {"teacher": M, "student": M} of the verify document; what was not measured has no row.
std::vector<HeadlineRow> efficiency_rows(const std::string& measurements_json);
// `fidelity_json`: F of one mode.
std::vector<HeadlineRow> fidelity_rows(const std::string& fidelity_json);
HeadlineRow size_row(uint64_t teacher_bytes, uint64_t student_bytes);

// Lines for a terminal, each with its line break.
std::string headline_title();
std::string headline_lines(const std::vector<HeadlineRow>& rows);

}  // namespace attar::runtime
