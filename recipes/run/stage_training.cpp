#include "recipes/run/stage_training.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "distill/alignment/aligned_dataset.h"
#include "distill/signal_source.h"
#include "recipes/data/student_writes.h"
#include "recipes/data/teacher_signal.h"
#include "recipes/run/training_record.h"

namespace attar {
namespace {

using Json = nlohmann::ordered_json;

// A student that the recipe makes follows from recipe and teacher; one that it names may change between two runs.
std::string named_student_hash(const RunState& state) {
  return state.inputs.student ? state.inputs.student->content_hash() : "";
}

// The training text as the student reads it, with what its teacher says of it where that is kept. The signal is a
// stage's own: a later one finds the data as a resumed run would.
struct StageData {
  TokenDataset tokens;
  std::string note{};
};
StageData stage_data(RunState& state, const DistillOptions& options) {
  if (asks_alignment(options)) {
    AlignedData aligned = aligned_data(state.train, Tokenizer(state.teacher->tokenizer()), Tokenizer(state.tokenizer),
                                       options.sequence_tokens);
    return {std::move(aligned.data), aligned.note()};
  }
  if (!needs_teacher_signal(state.train, options)) return {state.in_student_vocabulary(state.train)};
  return {state.in_student_vocabulary(with_teacher_signal(*state.teacher, state.train, state.kept_tokens, options,
                                                          state.folder.file("cache"), state.threads, state.progress))};
}

std::string kept_signal(const TokenDataset& data) {
  if (data.hidden_width > 0) return "hidden";
  return data.sampled.samples > 0 ? "sampled" : "cached";
}

}  // namespace

StageTraining train_in_run(RunState& state, const std::string& stage, const DistillOptions& given,
                           const TrainingWork& work) {
  const DistillOptions options = with_sequence_tokens(
      given, std::min(state.student.config.context_length, state.teacher->config().context_length));
  const StageData learned = stage_data(state, options);
  const TokenDataset& data = learned.tokens;
  CausalLM teacher;
  const bool beside = needs_teacher_beside(options, data, state.progress);
  if (beside) teacher = CausalLM::load(*state.teacher);
  const TrainInputs inputs{.teacher = beside ? &teacher : nullptr,
                           .teacher_hash = state.teacher_hash,
                           .student_hash = named_student_hash(state),
                           .student_to_teacher = asks_alignment(options) ? std::vector<int32_t>{} : state.kept_tokens,
                           .teacher_head = head_for_states(*state.teacher, data),
                           .data = &data,
                           .write_rollouts = student_writer(state.tokenizer, state.threads),
                           .checkpoint_directory = state.folder.checkpoints(stage),
                           .resume = true,
                           .seed = static_cast<uint64_t>(state.recipe.seed),
                           .threads = state.threads,
                           .ranks = state.options.ranks,
                           .on_step = step_recorder(state.folder, stage),
                           .let_teacher_go = [&teacher] { teacher = CausalLM(); },
                           .asked_beside = true};
  const TrainResult trained = work(inputs, options);
  const SignalRecord signal = signal_record(trained, data, options);
  const std::string outcome = training_results(trained);
  Json results = Json::parse(outcome);
  const bool taught = beside && (asks_a_teacher(options) || asks_features(options));
  results["signal"] = trained.gaps ? kept_signal(data) : taught ? "online" : "none";
  results.update(Json::parse(signal.results));
  results["curve"] = Json::parse(training_curve(trained));
  StageTraining training{.results = results.dump(), .notes = signal.notes};
  if (!learned.note.empty()) training.notes.push_back(learned.note);
  for (const std::string& note : training_notes(outcome)) training.notes.push_back(note);
  return training;
}

}  // namespace attar
