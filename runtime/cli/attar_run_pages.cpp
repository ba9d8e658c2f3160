// Run by the build: the manual page and the completions of attar-run. attar-run-pages FOLDER
#include "runtime/cli/pages.h"
#include "runtime/cli/verbs.h"

int main(int argc, char** argv) {
  return attar::cli::write_pages(argc, argv, attar::cli::kRuntimeProgram, attar::cli::runtime_verbs());
}
