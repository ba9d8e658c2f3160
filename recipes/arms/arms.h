// Does distilling pay? A training beside its controls: the same tokens, order of the data and seed from random weights
// and from the student that is there, each by cross-entropy alone and by the losses that were asked for.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "distill/train.h"
#include "recipes/arms/judged_arm.h"
#include "runtime/formats/model_file.h"
#include "runtime/formats/text_file.h"

namespace attar {

struct ArmsInputs {
  const ModelFile& teacher;
  const std::vector<Document>& text;  // that arms are judged on; nobody learns from it
  std::string chat_template{};        // of its chats; "": the teacher's own
  bool from_scratch = false;          // the student's weights are random: the two initialised arms are the others again
  int64_t seeds = 1;                  // TrainInputs::seed and those after it
  std::string folder{};               // keeps each arm's figures, and the checkpoints of the one in work
  std::function<std::function<void(const TrainStep&)>(const std::string& arm)> recorder{};  // of the others' steps
};

struct ArmsOutcome {
  TrainResult trained;    // of the arm that was asked for
  std::string results{};  // JSON (arms_results.h)
  std::vector<std::string> notes{};
};

// Changes `student` as train() does, with the same bytes: the arm that was asked for, with the first seed, comes last.
// An arm whose figures are in `folder` is not trained again, the one in work goes on from its checkpoints.
ArmsOutcome train_with_arms(CausalLM& student, const TokenizerData& tokenizer, const ArmsInputs& arms,
                            const TrainInputs& inputs, const DistillOptions& options, const Progress& progress = {});

// The arms in the order in which the table shows them; the last is the one that was asked for.
std::vector<Arm> arms_of(bool from_scratch);

// The same training by cross-entropy alone, without a word of the teacher.
DistillOptions cross_entropy_alone(DistillOptions options);

}  // namespace attar
