// attar: the whole toolkit.
#include "compress/shards.h"
#include "recipes/cli/verbs.h"

int main(int argc, char** argv) {
  attar::prepare_libtorch();
  return attar::cli::run_program(argc, argv, attar::cli::kAttarProgram, attar::cli::attar_verbs());
}
