// attar: the whole toolkit.
#include "recipes/cli/verbs.h"

int main(int argc, char** argv) {
  return attar::cli::run_program(argc, argv, attar::cli::kAttarProgram, attar::cli::attar_verbs());
}
