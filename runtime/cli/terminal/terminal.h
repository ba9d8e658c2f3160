// Progress for people: a live line on a terminal, plain lines every few seconds elsewhere; always on stderr.
#pragma once

#include <string>
#include <vector>

#include "runtime/base/progress.h"
#include "runtime/cli/program.h"

namespace attar::cli {

// Also answers Stop after Ctrl-C. With --quiet it only does that.
Progress terminal_progress(const GlobalOptions& global);

// Fallbacks and the like, a line each on stderr; not with --quiet.
void show_notes(const std::vector<std::string>& notes, const GlobalOptions& global);

}  // namespace attar::cli
