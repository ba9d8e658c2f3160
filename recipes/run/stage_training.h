// A training as a stage of a run: the recipe's train data, the teacher beside it or its signal, checkpoints, a curve.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "distill/train.h"
#include "recipes/run/run_state.h"

namespace attar {

struct StageTraining {
  std::string results = "{}";  // JSON: steps, tokens, signal, curve
  std::vector<std::string> notes{};
};

// Calls `work` once with all that a training in this run learns from.
using TrainingWork = std::function<TrainResult(const TrainInputs& inputs, const DistillOptions& options)>;
StageTraining train_in_run(RunState& state, const std::string& stage, const DistillOptions& options,
                           const TrainingWork& work);

}  // namespace attar
