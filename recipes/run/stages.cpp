// The stages that make the student: prune, distill, quantize, export.
#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "compress/checkpoint.h"
#include "distill/alignment/aligned_dataset.h"
#include "prune/kept_cuts.h"
#include "prune/vocabulary.h"
#include "recipes/arms/arms.h"
#include "recipes/data/splits.h"
#include "recipes/run/qad.h"
#include "recipes/run/run_state.h"
#include "recipes/run/stage_records.h"
#include "recipes/run/stage_training.h"
#include "recipes/run/training_record.h"
#include "recipes/schema/option_checks.h"
#include "runtime/base/error.h"
#include "runtime/formats/tokenizer/shared_vocabulary.h"

namespace attar {
namespace {

using Json = nlohmann::ordered_json;

Json kept_tokens_json(const RunState& state) {
  return {{"kept_tokens", state.kept_tokens}};
}

// The teacher's ids of the student's tokens as a checkpoint keeps them; data is indexed with them.
std::vector<int32_t> kept_tokens_of(const Checkpoint& checkpoint, int64_t teacher_vocab_size,
                                    const std::string& where) {
  const Error damaged = input_error(where + "/state.json", "is damaged at kept_tokens", "", "",
                                    "delete its folder and resume: the stage runs again");
  std::vector<int32_t> kept;
  try {
    kept = Json::parse(checkpoint.state_json).value("kept_tokens", kept);
  } catch (const Json::exception&) {
    throw damaged;
  }
  const bool fits = kept.empty() || static_cast<int64_t>(kept.size()) == checkpoint.model.config.vocab_size;
  const auto is_there = [&](int32_t id) { return id >= 0 && id < teacher_vocab_size; };
  if (!fits || !std::all_of(kept.begin(), kept.end(), is_there)) throw damaged;
  return kept;
}

// Documents of both splits, calibration first: importance is measured on calibration, token counts on everything.
TokenDataset joined(TokenDataset first, const TokenDataset& second) {
  for (const TokenDocument& document : second.documents) {
    first.documents.push_back(document);
    first.documents.back().forget_signal();
  }
  return first;
}

// Kept ids of a second cut, in the teacher's numbering.
std::vector<int32_t> composed(const std::vector<int32_t>& before, std::vector<int32_t> now) {
  if (before.empty()) return now;
  for (int32_t& id : now) id = before[static_cast<size_t>(id)];
  return now;
}

// A student that has learned is no longer what its file holds; distill comes before quantize.
std::string requantization_note(const RunState& state, const QuantizePlan& plan) {
  const bool learned = std::any_of(state.recipe.stages.begin(), state.recipe.stages.end(),
                                   [](const Stage& stage) { return std::holds_alternative<DistillStage>(stage); });
  const bool made_here = state.recipe.student && !state.inputs.student;
  if (learned || made_here) return {};
  return attar::requantization_note(state.inputs.student ? *state.inputs.student : *state.teacher, plan);
}

// For the card of a file that holds codes: what they fell back to, and what the export had to say.
ExportInfo with_notes(ExportInfo info, const QuantizedModel& model, const std::vector<std::string>& notes) {
  info.notes = model.plan.fallback_lines();
  info.notes.insert(info.notes.end(), notes.begin(), notes.end());
  return info;
}

uint64_t folder_bytes(const std::string& folder) {
  uint64_t bytes = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder))
    if (entry.is_regular_file()) bytes += entry.file_size();
  return bytes;
}

}  // namespace

TokenDataset RunState::in_student_vocabulary(const TokenDataset& data) const {
  if (kept_tokens.empty() && !inputs.other_tokenizer) return data;
  const Tokenizer from(teacher->tokenizer()), to(tokenizer);
  if (inputs.other_tokenizer) return in_tokens_of(to, data, from);
  return remap_dataset(data, from, to, VocabularyCut{tokenizer, kept_tokens});
}

ExportInfo RunState::export_info() const {
  return attar::export_info(recipe, inputs);
}

void start_student(RunState& state) {
  const std::optional<ModelRecipe>& wanted = state.recipe.student;
  const std::optional<ModelFile>& file = state.inputs.student;
  const TokenizerData& own = state.inputs.student_tokenizer;
  state.tokenizer = file ? file->tokenizer() : own.tokens.empty() ? state.teacher->tokenizer() : own;
  if (!state.inputs.chat_template.empty()) state.tokenizer.chat_template = state.inputs.chat_template;
  if (wanted && !file)
    state.student = CausalLM::random(state.inputs.student_config, static_cast<uint64_t>(state.recipe.seed) + 1);
  else
    state.student = CausalLM::load(file ? *file : *state.teacher);
  if (state.inputs.other_tokenizer) return;
  const Tokenizer teacher(state.teacher->tokenizer()), student(state.tokenizer);
  const std::string source = wanted ? wanted->model : "student";
  require_same_reading(teacher, student, source);
  state.kept_tokens = teacher_ids(teacher, student, source);
}

void restore_student(RunState& state, const std::string& name) {
  const std::string folder = state.folder.finished_model(name);
  Checkpoint checkpoint = read_checkpoint(folder);
  state.kept_tokens = kept_tokens_of(checkpoint, state.teacher->config().vocab_size, folder);
  state.student = std::move(checkpoint.model);
  state.tokenizer = std::move(checkpoint.tokenizer);
}

StageRecord run_stage(RunState& state, const std::string& name, const PruneOptions& options) {
  const TokenDataset data =
      joined(state.in_student_vocabulary(state.calibration), state.in_student_vocabulary(state.train));
  const PruneResult pruned = prune(state.student, state.tokenizer, data, options, state.threads, state.progress,
                                   state.folder.checkpoints(name));
  if (!pruned.kept_tokens.empty() && !state.inputs.other_tokenizer)
    state.kept_tokens = composed(state.kept_tokens, pruned.kept_tokens);
  write_checkpoint(state.folder.finished_model(name), state.student, state.tokenizer, state.export_info().provenance,
                   {}, kept_tokens_json(state).dump());
  remove_kept_parts(state.folder.checkpoints(name), kCutsKind);
  const Json results = {{"parameters_before", pruned.parameters_before},
                        {"parameters_after", pruned.parameters_after},
                        {"vocabulary", state.student.config.vocab_size},
                        {"removed_layers", pruned.removed_layers},
                        {"kept_layers", pruned.kept_layers},
                        {"layers", Json::parse(layer_cuts_json(pruned.cuts))}};
  return {.name = name, .results = results.dump(), .notes = pruned.notes};
}

// Whether nothing has taught the student of this stage yet.
bool is_random(const RunState& state, const std::string& name) {
  const auto before = static_cast<std::ptrdiff_t>(std::stoul(name)) - 1;  // "2-distill" is the second
  const std::vector<Stage>& stages = state.recipe.stages;
  return state.recipe.student && !state.inputs.student &&
         std::none_of(stages.begin(), stages.begin() + before,
                      [](const Stage& stage) { return std::holds_alternative<DistillStage>(stage); });
}

ArmsOutcome train_arms(RunState& state, const std::string& name, int64_t seeds, const TrainInputs& inputs,
                       const DistillOptions& options) {
  const std::vector<Document> text = evaluation_documents(state.recipe);
  const ArmsInputs arms{
      .teacher = *state.teacher,
      .text = text,
      .chat_template = recipe_template(state.recipe),
      .from_scratch = is_random(state, name),
      .seeds = seeds,
      .folder = state.folder.checkpoints(name) + "/arms",
      .recorder = [&](const std::string& arm) { return step_recorder(state.folder, name + " " + arm); }};
  ArmsOutcome out = train_with_arms(state.student, state.tokenizer, arms, inputs, options, state.progress);
  const auto is_written = [](const DataSource& source) { return source.is_written(); };
  if (std::any_of(state.recipe.train.begin(), state.recipe.train.end(), is_written))
    out.notes.emplace_back("arms: a teacher wrote text of data.train, so that plain training learns from it too");
  return out;
}

StageRecord run_stage(RunState& state, const std::string& name, const DistillStage& given) {
  ArmsOutcome arms;
  StageTraining training =
      train_in_run(state, name, given, [&](const TrainInputs& inputs, const DistillOptions& options) {
        if (given.arms) arms = train_arms(state, name, given.arm_seeds, inputs, options);
        TrainResult trained = given.arms ? std::move(arms.trained)
                                         : train(state.student, state.tokenizer, inputs, options, state.progress);
        write_checkpoint(state.folder.finished_model(name), state.student, state.tokenizer,
                         state.export_info().provenance, {}, kept_tokens_json(state).dump());
        return trained;
      });
  if (given.arms) {
    Json results = Json::parse(training.results);
    results["arms"] = Json::parse(arms.results);
    training.results = results.dump();
    training.notes.insert(training.notes.end(), arms.notes.begin(), arms.notes.end());
  }
  return {.name = name, .results = training.results, .notes = training.notes};
}

// The quantized model learns from the teacher. A stage that is done before has left what it learned. -> its results
StageTraining run_qad(RunState& state, const std::string& name, const QadOptions& options) {
  const std::string folder = state.folder.finished_model(name);
  if (state.folder.record(name)) {
    restore_trained(folder, state.student, *state.quantized, options, state.threads);
    return {};
  }
  std::string divergence;
  StageTraining training =
      train_in_run(state, name, qad_training(options), [&](const TrainInputs& inputs, const DistillOptions& distill) {
        const GridTraining done =
            train_on_grid(state.student, *state.quantized, state.tokenizer, inputs, options, distill, state.progress);
        write_checkpoint(folder, done.student, state.tokenizer, state.export_info().provenance,
                         trained_tensors({}, done.parameters), kept_tokens_json(state).dump());
        divergence = qad_results(done.trained, options);
        return done.trained;
      });
  Json results = Json::parse(divergence);
  results.update(Json::parse(training.results));
  training.results = results.dump();
  return training;
}

StageRecord run_stage(RunState& state, const std::string& name, const QuantizeOptions& options) {
  const ModelConfig planned = planned_config(state.student.config, options);
  const PlanTarget target = gguf_plan_target(planned, state.tokenizer, state.export_info());
  state.quantized =
      quantize(state.student, options, target,
               options.importance ? state.in_student_vocabulary(state.calibration) : TokenDataset{}, state.threads,
               state.progress, {.steps = state.folder.checkpoints(name), .cache = state.folder.file("cache")},
               block_learner(options.block_steps, state.threads));
  state.quantized->config.kv = planned.kv;
  StageTraining learned;
  const bool qad = options.preset == "learned";
  if (qad) learned = run_qad(state, name, options.qad);
  Json results = Json::parse(quantize_record(*state.quantized));
  results["preset"] = options.importance || qad ? options.preset : "fast";
  if (qad) results["qad"] = Json::parse(learned.results);
  StageRecord record{.name = name, .results = results.dump(), .notes = state.quantized->plan.fallback_lines()};
  record.measurements = Json({{"sensitivities_taken", state.quantized->taken.sensitivity},
                              {"layers_taken", state.quantized->taken.layers}})
                            .dump();
  for (const auto* notes : {&state.quantized->notes, &learned.notes})
    record.notes.insert(record.notes.end(), notes->begin(), notes->end());
  if (const std::string note = requantization_note(state, state.quantized->plan); !note.empty())
    record.notes.push_back(note);
  return record;
}

QuantizedModel in_f16(const RunState& state, const ExportInfo& info) {
  QuantizeOptions plain;
  plain.to = "F16";
  const ModelConfig& config = state.student.config;
  const QuantizePlan plan = plan_quantization(config, plain, gguf_plan_target(config, state.tokenizer, info));
  return quantize(state.student, plan, {}, state.threads, state.progress);
}

StageRecord run_stage(RunState& state, const std::string& name, const ExportOptions& options) {
  const std::string folder = state.folder.file("export");
  const ExportInfo info = state.export_info();
  StageRecord record{.name = name};
  Json results = Json::object();
  for (const std::string& format : options.formats) {
    const bool codes = state.quantized && (format == "compressed-tensors" || options.dequantized);
    if (const std::string note = kv_note(codes ? state.quantized->config : state.student.config);
        format != "gguf" && !note.empty() &&
        std::find(record.notes.begin(), record.notes.end(), note) == record.notes.end())
      record.notes.push_back(note);
    if (format == "gguf") {
      std::optional<QuantizedModel> plain;  // of the student as it is here: a later stage may change it
      if (!state.quantized) {
        plain = in_f16(state, info);
        record.notes.push_back("no quantize stage before export: the GGUF holds F16");
      }
      const QuantizedModel& held = plain ? *plain : *state.quantized;
      const GgufExport written = export_gguf(folder + "/model.gguf", held, state.tokenizer, info, state.progress);
      results["gguf"] = {{"architecture", written.architecture}, {"bytes", written.size_bytes}};
      record.notes.insert(record.notes.end(), written.notes.begin(), written.notes.end());
      write_gguf_card(folder + "/model.gguf", held, with_notes(info, held, record.notes), state.progress);
      if (plain)  // no quantize stage has told them
        for (const std::string& line : held.plan.fallback_lines()) record.notes.push_back(line);
    } else if (format == "compressed-tensors") {
      if (!state.quantized) throw usage_error("export", "compressed-tensors holds codes", "a quantize stage before it");
      export_compressed_tensors(folder + "/compressed-tensors", *state.quantized, state.tokenizer,
                                with_notes(info, *state.quantized, record.notes), state.progress);
      results[format] = {{"values", "codes"}, {"bytes", folder_bytes(folder + "/compressed-tensors")}};
    } else {
      export_hf(folder + "/hf", codes ? dequantized(*state.quantized) : state.student, state.tokenizer,
                codes ? with_notes(info, *state.quantized, record.notes) : info, options.hf_dtype, state.progress);
      results["hf"] = {{"dtype", options.hf_dtype},
                       {"values", codes ? "dequantized codes" : "before quantization"},
                       {"bytes", folder_bytes(folder + "/hf")}};
    }
  }
  write_manifest(folder, state.progress);
  record.results = results.dump();
  return record;
}

}  // namespace attar
