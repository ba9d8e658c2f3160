// What a run leaves to read: report.json for programs, report.html for people.
#pragma once

#include <vector>

#include "recipes/run/run_state.h"

namespace attar {

// Writes both into the run folder and says whether every gate passed.
RunOutcome write_report(const RunState& state, const std::vector<StageRecord>& records);

}  // namespace attar
