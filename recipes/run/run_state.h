// What the stages of a run share: the teacher, the student as it is now, the data in the student's vocabulary.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "compress/causal_lm.h"
#include "compress/token_dataset.h"
#include "export/export.h"
#include "quantize/quantize.h"
#include "recipes/run/folder/run_folder.h"
#include "recipes/run/run.h"
#include "recipes/run/run_log.h"
#include "recipes/schema/inputs.h"
#include "recipes/schema/recipe.h"
#include "runtime/base/progress.h"
#include "runtime/formats/model_file.h"

namespace attar {

struct RunState {
  const Recipe& recipe;
  const RecipeInputs& inputs;
  const RunOptions& options;
  RunFolder& folder;
  const Progress& progress;
  const RunLog& log;
  int threads;

  std::string teacher_model{};  // MODEL: the recipe's, or the checkpoint of the one trained here
  std::optional<ModelFile> teacher{};
  std::string teacher_hash{};           // its content_hash()
  TokenDataset train{}, calibration{};  // in the teacher's vocabulary

  CausalLM student = CausalLM();  // empty until a stage needs it
  TokenizerData tokenizer{};
  std::vector<int32_t> kept_tokens{};  // teacher's id of each student id; empty: the same vocabulary, or another one
  std::optional<QuantizedModel> quantized{};

  // The data as the student tokenizes it.
  TokenDataset in_student_vocabulary(const TokenDataset& data) const;
  ExportInfo export_info() const;
};

// Like plan_recipe's estimates, but only to compare them: of the teacher where it is trained here, of the data, and of
// each stage.
std::vector<double> planned_seconds(const Recipe& recipe, const RunOptions& options, const RecipeInputs& inputs);

// Opens or trains the teacher; writes, reads or tokenizes the data. Both resume from the run folder.
StageRecord prepare_teacher(RunState& state);
StageRecord prepare_data(RunState& state);

// The student that the first stage starts from.
void start_student(RunState& state);
// The student as finished stage `name` left it.
void restore_student(RunState& state, const std::string& name);

// One stage: changes the state, writes what lasts into the run folder, returns what the report says.
StageRecord run_stage(RunState& state, const std::string& name, const PruneOptions& options);
StageRecord run_stage(RunState& state, const std::string& name, const DistillStage& options);
StageRecord run_stage(RunState& state, const std::string& name, const QuantizeOptions& options);
StageRecord run_stage(RunState& state, const std::string& name, const ExportOptions& options);
StageRecord run_stage(RunState& state, const std::string& name, const VerifyStage& options);

// Before a run begins: attar-run is there when a verify stage wants to measure with it.
void require_measurable(const Recipe& recipe, const RunOptions& options);

}  // namespace attar
