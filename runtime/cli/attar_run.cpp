// attar-run: the lean runtime's program. No LibTorch, no Python.
#include "runtime/cli/verbs.h"

int main(int argc, char** argv) {
  return attar::cli::run_program(argc, argv, attar::cli::kRuntimeProgram, attar::cli::runtime_verbs());
}
