// What a training leaves behind: a line in metrics.jsonl for each step as it happens, and a curve for the report.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "distill/train.h"
#include "recipes/run/folder/run_folder.h"

namespace attar {

// TrainInputs::on_step that writes the steps of `stage`, for TensorBoard too (tensorboard/STAGE); lines that an
// interrupted run left are dropped at once, since the trainer tells the steps of its checkpoint again.
std::function<void(const TrainStep&)> step_recorder(RunFolder& folder, const std::string& stage);

// JSON: at most 200 steps of a training, evenly, the last one included.
std::string training_curve(const TrainResult& trained);

// JSON for the report: steps, tokens and final_loss, and what was not as in every training: skipped_steps that changed
// nothing, stopped_early, best_step whose weights were kept, zero_share of weights that were kept at 0, another device
// than the processor.
std::string training_results(const TrainResult& trained);
// A note for each of those, from what training_results gave.
std::vector<std::string> training_notes(const std::string& results);

}  // namespace attar
