// The verbs that only `attar` has; those of the runtime come beside them.
#pragma once

#include <span>

#include "runtime/cli/program.h"

namespace attar::cli {

Action add_run(CLI::App& command, const GlobalOptions& global);
Action add_prune(CLI::App& command, const GlobalOptions& global);
Action add_distill(CLI::App& command, const GlobalOptions& global);
Action add_quantize(CLI::App& command, const GlobalOptions& global);
Action add_export(CLI::App& command, const GlobalOptions& global);
Action add_eval(CLI::App& command, const GlobalOptions& global);
Action add_doctor(CLI::App& command, const GlobalOptions& global);
Action add_recipes(CLI::App& command, const GlobalOptions& global);
Action add_report(CLI::App& command, const GlobalOptions& global);

}  // namespace attar::cli
