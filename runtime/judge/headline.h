// The table that a verification is read by: one list of rows for the terminal, the run's report and its page.
#pragma once

#include <string>
#include <vector>

namespace attar::runtime {

// As shown, with no more digits than the numbers carry: after ± of a speed half of what lies between the quartiles of
// its runs, of a share or a divergence the standard error.
struct HeadlineRow {
  std::string key;  // of the JSON document
  std::string label, teacher, student;
  std::string ratio;  // student / teacher; like `teacher` empty where only the student has a number
};

// `measurements_json`: {"teacher": M, "student": M} of the verify document; what was not measured has no row.
std::vector<HeadlineRow> efficiency_rows(const std::string& measurements_json);
// `fidelity_json`: F of one mode.
std::vector<HeadlineRow> fidelity_rows(const std::string& fidelity_json);
HeadlineRow size_row(uint64_t teacher_bytes, uint64_t student_bytes);

// Lines for a terminal, each with its line break.
std::string headline_title();
std::string headline_note();  // what ± means
std::string headline_lines(const std::vector<HeadlineRow>& rows);

}  // namespace attar::runtime
