// The report of a run: report.json for programs, report.html for people, which opens offline.
#pragma once

#include <string>
#include <vector>

#include "prune/prune.h"
#include "recipes/run/session.h"

namespace attar {

// Writes both into the run folder and says whether every gate passed.
RunOutcome write_report(const Session& session, const std::vector<StageRecord>& records);

// What prune left of each layer, as a JSON array: of a stage's results and of `attar prune --json`.
std::string layer_cuts_json(const std::vector<LayerCut>& cuts);

// report.json's text -> one self-contained page: no script, no network, charts as SVG.
std::string report_html(const std::string& report_json);

// report.json's text -> the table that ends a run on the terminal.
std::string report_table(const std::string& report_json);

}  // namespace attar
