// What a run was made with and started by.
#pragma once

#include <string>

namespace attar {

// The words this process was started with, quoted for a shell.
std::string command_line();
// A word as a shell takes it.
std::string shell_quoted(const std::string& word);

// JSON: versions of Attar, LibTorch and the compiler; the processor, its instruction set, the threads used, and the
// processes that trainings share, where there are several.
std::string machine_json(int threads, int ranks);

}  // namespace attar
