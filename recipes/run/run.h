// Runs a recipe in a run folder: every stage's result is kept there and any stage resumes from it.
//
//   resolved.yaml env.json log.txt metrics.jsonl tensorboard/<stage>/ data/*.h5 cache/signal-*.json cache/signal-*.h5
//   cache/sensitivity-*.safetensors checkpoints/<stage>/step-N/ checkpoints/<stage>/codes-*.safetensors export/
//   report.json report.html
#pragma once

#include <string>

#include "recipes/run/run_log.h"
#include "recipes/schema/recipe.h"
#include "runtime/base/progress.h"

namespace attar {

class Ranks;

struct RunOptions {
  std::string folder;           // "": runs/<name>
  bool resume = false;          // go on from what the folder holds; without it a folder that holds a run is an error
  int threads = 0;              // 0: default_threads()
  std::string runtime_program;  // attar-run, for measurements; "": beside this program
  LogOptions log{};             // of log.txt in the folder
  Ranks* ranks = nullptr;       // other processes that trainings share
};

struct RunOutcome {
  std::string folder;
  std::string gguf{}, report_html{}, report_json{};  // paths; "" when not made
  std::string report{};                              // report.json's text
  bool gates_passed = true;
};

// Error{Resources}: the folder is locked by another run, or a training asks for a GPU that is not here. Error{Usage}:
// it holds a run of another recipe.
RunOutcome run_recipe(const Recipe& recipe, const RunOptions& options, const Progress& progress = {});

// What a run would do: stages with sizes, and estimates of memory, disk and time on this machine. JSON text.
std::string plan_recipe(const Recipe& recipe, const RunOptions& options, const Progress& progress = {});

}  // namespace attar
