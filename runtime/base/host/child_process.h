// A program run beside this one, for what it prints.
#pragma once

#include <string>
#include <vector>

#include "runtime/base/progress.h"

namespace attar {

// Runs `command` (its first word is a path) and returns what it wrote on stdout. Asks `progress` with `now` ten times a
// second; stopped, it kills the program. Error{Resources}: it could not be started. Error{Interrupted}: it was stopped,
// by `progress` or by the Ctrl-C that goes to the whole process group. Error{Failure}: it ended with another code than
// 0.
std::string output_of(const std::vector<std::string>& command, const Progress& progress, const Event& now);

}  // namespace attar
