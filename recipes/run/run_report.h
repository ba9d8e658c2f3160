// What a run leaves to read: report.json for programs, report.html for people.
#pragma once

#include <vector>

#include "recipes/run/session.h"

namespace attar {

// Writes both into the run folder and says whether every gate passed.
RunOutcome write_report(const Session& session, const std::vector<StageRecord>& records);

}  // namespace attar
