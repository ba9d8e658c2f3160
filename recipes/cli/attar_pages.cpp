// Run by the build: the manual page and the completions of attar. attar-pages FOLDER
#include "recipes/cli/verbs.h"
#include "runtime/cli/pages.h"

int main(int argc, char** argv) {
  return attar::cli::write_pages(argc, argv, attar::cli::kAttarProgram, attar::cli::attar_verbs());
}
