// A verb that trains, in several processes: rank 0 does its work, the others compute its trainings with it.
#pragma once

#include <functional>

#include "runtime/cli/program.h"

namespace attar {
class Ranks;
}

namespace attar::cli {

// `work` where this process is alone (nullptr) or rank 0; at another rank trainings, until rank 0 ends. -> the exit
// code
int on_ranks(const GlobalOptions& global, const std::function<int(Ranks* ranks)>& work);

}  // namespace attar::cli
