// One line about where a long call stands: all that is known in plain text, on a terminal what matters most.
#pragma once

#include <string>

#include "runtime/base/progress.h"

namespace attar::cli {

// `rate_per_s`: of what the event counts; 0: not known yet.
std::string plain_line(const Event& event, double rate_per_s);

// The stage and how far it is; of what a training tells as much as goes into `columns`: its loss, how often it agrees
// with its teacher, speed, time left, memory; then a bar, then the rest. A bar's characters take three bytes each.
enum class StageName { Plain, Bold };
std::string live_line(const Event& event, double rate_per_s, int columns, StageName name);

// "1:05", "2:03:04"
std::string duration_text(double seconds);

}  // namespace attar::cli
