// attar quantize: a compact GGUF out of a model, and with preset learned what it learns on its grid.
#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>

#include "distill/signal_source.h"
#include "distill/training_state.h"
#include "quantize/calibration.h"
#include "quantize/kept/kept_codes.h"
#include "quantize/measure/imatrix.h"
#include "recipes/commands/commands.h"
#include "recipes/commands/common.h"
#include "recipes/commands/output.h"
#include "recipes/data/teacher_signal.h"
#include "recipes/hub/hub_model.h"
#include "recipes/run/qad.h"
#include "recipes/run/stage_records.h"
#include "recipes/schema/option_checks.h"
#include "runtime/base/error.h"
#include "runtime/base/words/byte_size.h"
#include "runtime/formats/model_file.h"
#include "runtime/formats/text_paths.h"

namespace attar {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

// How many of the model's matrices the importance says anything about.
int64_t known_matrices(const ModelConfig& config, const Importance& importance) {
  const std::vector<TensorSpec> specs = tensor_specs(config);
  return std::count_if(specs.begin(), specs.end(),
                       [&](const TensorSpec& spec) { return spec.is_matrix() && importance.count(spec.name) != 0; });
}

// Widths may agree where models do not: a matrix of more layers, or of other names, was made with something else.
std::string foreign_note(const ModelConfig& config, const Importance& matrix) {
  std::set<std::string> own;
  for (const TensorSpec& spec : tensor_specs(config)) own.insert(spec.name);
  std::string first;
  int64_t count = 0;
  for (const auto& entry : matrix)
    if (!own.contains(entry.first) && count++ == 0) first = entry.first;
  if (count == 0) return {};
  return "the importance matrix names " + std::to_string(count) + " tensors that this model has not, " +
         printable(first) + " first: it may be of another model; they are not used";
}

// What calibrates: that of --train where there is no other.
bool has_text(const CommandOptions& command, const QuantizeInputs& inputs) {
  return !command.data.empty() || (!inputs.training.empty() && inputs.imatrix.empty());
}

void check_importance_flags(const CommandOptions& command, const QuantizeOptions& options,
                            const QuantizeInputs& inputs) {
  const std::string& imatrix = inputs.imatrix;
  if (!imatrix.empty() && !command.data.empty())
    throw usage_error("attar quantize", "two sources say which inputs matter", "--imatrix or --data", "",
                      options.preset == "learned" ? "--train TEXT is learned from alone" : "");
  if (options.max_kl && !imatrix.empty())
    throw usage_error("max_kl", "makes no use of --imatrix", "text to measure divergences on: --data TEXT");
  if (options.block_steps > 0 && !has_text(command, inputs))
    throw usage_error("block_steps", "blocks learn from text", "--data TEXT");
  const bool learned = options.preset == "learned";
  if (!options.importance && (!imatrix.empty() || (!command.data.empty() && !learned)))
    throw usage_error("attar quantize", "--no-importance makes no use of --imatrix and --data",
                      "importance, or neither of the two");
}

// The matrix takes no place of what is read or written beside it.
void check_imatrix_out(const CommandOptions& command, const QuantizeOptions& options, const QuantizeInputs& inputs) {
  const std::string& path = inputs.imatrix_out;
  if (path.empty()) return;
  if (!options.importance)
    throw usage_error("attar quantize", "--no-importance measures no inputs that --imatrix-out could write",
                      "importance, or no --imatrix-out");
  if (command.data.empty())
    throw usage_error("attar quantize", "--imatrix-out needs text to measure inputs on", "--data TEXT");
  if (!is_gguf(path)) throw usage_error("--imatrix-out", "must end in .gguf", "a GGUF file", printable(path));
  const bool goes_on = inputs.resume && fs::exists(command.out + ".steps");  // the run that was broken off wrote it
  checked_out(path, inputs_of(command, inputs.training), goes_on ? Existing::Replace : existing(command));
  if (fs::weakly_canonical(path) == fs::weakly_canonical(command.out))
    throw usage_error("--imatrix-out", "is OUT itself", "another name than " + printable(command.out));
}

// Whether text says what a size or a loss asks for.
bool measures(const CommandOptions& command, const QuantizeOptions& options, const QuantizeInputs& inputs) {
  return has_text(command, inputs) && options.importance && !options.to;
}

void check_cache(const CommandOptions& command, const QuantizeOptions& options, const QuantizeInputs& inputs) {
  if (inputs.cache.empty()) return;
  if (!measures(command, options, inputs))
    throw usage_error("--cache", "keeps what is measured for a size or a loss",
                      "--data TEXT with --target-size, --target-bpw or --max-kl");
  if (fs::exists(inputs.cache) && !fs::is_directory(inputs.cache))
    throw usage_error(printable(inputs.cache), "is in the way", "a folder");
}

// Where a run that is broken off leaves what it has: codes, sensitivities, checkpoints of a training. What cannot be
// begun is refused before anything is read.
std::string steps_folder(const CommandOptions& command, const QuantizeOptions& options, const QuantizeInputs& inputs) {
  const bool learned = options.preset == "learned";
  if (!learned && !inputs.training.empty())
    throw usage_error("attar quantize", "--train is for --preset learned", "--data, or --preset learned");
  if (learned && inputs.training.empty() && command.data.empty())
    throw usage_error("attar quantize", "--preset learned needs text to learn from", "--data TEXT");
  const bool feedback = !command.data.empty() && options.importance && options.preset == "best";
  if (!learned && !feedback && !measures(command, options, inputs)) {
    if (inputs.resume)
      throw usage_error("--resume", "nothing is kept of this to go on from", "--data TEXT, or --preset learned");
    return {};
  }
  const std::string folder = command.out + ".steps";
  check_steps_folder(folder, inputs_of(command, inputs.training));
  if (inputs.resume) return folder;
  if (has_kept_parts(folder, kCodesKind)) throw holds_steps(folder, kCodesKind);
  TrainingCheckpoints(folder, "").require_none();
  return folder;
}

// The quantized model learns from `model`, which it was made of. -> what the document says of it
Json learn(const CommandOptions& command, const QuantizeOptions& options, const QuantizeInputs& inputs,
           const std::string& steps, const ModelFile& source, const CausalLM& model, QuantizedModel& quantized,
           const Progress& progress) {
  CommandOptions of_text = command;
  if (!inputs.training.empty()) of_text.data = inputs.training;
  TextData text = text_data(of_text, source.tokenizer(), progress);
  const DistillOptions training = with_sequence_tokens(qad_training(options.qad), model.config.context_length);
  if (training.signal == "cached")
    text.tokens = resumable(kResumeHint, [&] {
      return with_teacher_signal(source, std::move(text.tokens), {}, training, steps, thread_count(command), progress);
    });
  const bool beside = resumable(kResumeHint, [&] { return needs_teacher_beside(training, text.tokens, progress); });
  const TrainInputs given{.teacher = beside ? &model : nullptr,
                          .teacher_hash = source.content_hash(),
                          .student_to_teacher = {},
                          .data = &text.tokens,
                          .checkpoint_directory = steps,
                          .resume = inputs.resume,
                          .seed = static_cast<uint64_t>(command.seed),
                          .threads = thread_count(command),
                          .ranks = command.ranks,
                          .asked_beside = true};
  const GridTraining done = train_on_grid(model, quantized, source.tokenizer(), given, options.qad, training, progress);
  Json json = {{"qad", Json::parse(qad_results(done.trained, options.qad))}, {"notes", text.notes}};
  return json;
}

// Where importance comes from: a matrix that somebody measured, or text.
struct Calibration {
  Importance matrix{};
  TextData text{};
};
Calibration read_calibration(const CommandOptions& command, const QuantizeOptions& options,
                             const QuantizeInputs& inputs, const ModelFile& source, const Progress& progress) {
  Calibration out;
  if (inputs.imatrix.empty()) {
    if (options.importance) out.text = text_data(command, source.tokenizer(), progress);
    return out;
  }
  out.matrix = read_imatrix(inputs.imatrix);
  if (known_matrices(source.config(), out.matrix) == 0)
    throw input_error(inputs.imatrix, "names no tensor of this model", "a matrix made with it",
                      out.matrix.begin()->first + ", ...");
  return out;
}

// What the document says of the importance, beside the record of the model.
void add_source(Json& json, const QuantizeOptions& options, const QuantizeInputs& inputs, const Calibration& given,
                const ModelConfig& config) {
  const bool matrix = !inputs.imatrix.empty();
  if ((options.importance && !matrix) || options.preset == "learned") json["preset"] = options.preset;
  json["importance"] = matrix ? "matrix" : options.importance ? "calibration text" : "none";
  if (matrix) json["importance_tensors"] = known_matrices(config, given.matrix);
  add_note(json, foreign_note(config, given.matrix));
  add_near_duplicates(json, given.text);
  for (const std::string& note : given.text.notes) add_note(json, note);
}

// What a user compares: the file beside its source, types by role, and why each tensor has its type.
void add_sizes(Json& json, const QuantizeOptions& options, uint64_t source_bytes) {
  const uint64_t bytes = json["bytes"];
  json["source_bytes"] = source_bytes;
  json["ratio"] = static_cast<double>(bytes) / static_cast<double>(source_bytes);
  Json& chosen = json["chosen"] = Json::object();
  for (Json& tensor : json["tensors"]) {
    const std::string role = tensor["role"], type = tensor["type"];
    if (tensor["reason"] == json["plan"] && options.keep.contains(role)) tensor["reason"] = "kept";
    Json& count = chosen[role][type];
    count = count.is_null() ? 1 : count.get<int64_t>() + 1;
  }
  if (bytes > source_bytes)
    add_note(json, "the file is larger than its source: " + size_text(source_bytes) + " -> " + size_text(bytes) +
                       "; take a type with fewer bits, or --target-size");
}

// Both readings of one text, where a quantized model learns, need it twice.
void check_standard_input(const CommandOptions& command, const QuantizeOptions& options, const QuantizeInputs& inputs) {
  const auto given = [](const std::vector<std::string>& texts) {
    return std::find(texts.begin(), texts.end(), kStandardInput) != texts.end();
  };
  if (options.preset == "learned" && (given(command.data) || given(inputs.training)))
    throw usage_error("--data", "standard input can be read once, and --preset learned reads its text twice", "a file");
}

}  // namespace

std::string quantize_model(const CommandOptions& given, const QuantizeOptions& options, const QuantizeInputs& inputs,
                           const Progress& progress) {
  require_valid(options, "attar quantize");
  check_importance_flags(given, options, inputs);
  std::vector<std::string> read = inputs.training;
  read.push_back(inputs.imatrix);
  CommandOptions command = checked(given, read);
  check_imatrix_out(command, options, inputs);
  check_cache(command, options, inputs);
  check_standard_input(command, options, inputs);
  const std::string steps = steps_folder(command, options, inputs);
  if (command.data.empty() && inputs.imatrix.empty() && options.importance) command.data = inputs.training;
  if (!is_gguf(command.out)) throw usage_error("-o", "must end in .gguf", "a GGUF file", printable(command.out));
  const ModelFile source = ModelFile::open(command.model, hub_source(progress));
  const ExportInfo info = info_of(source);
  QuantizeOptions own = options;
  own.importance = options.importance && (!inputs.imatrix.empty() || !command.data.empty());
  const Calibration calibration = read_calibration(command, own, inputs, source, progress);
  const int threads = thread_count(command);
  const int64_t tokens = calibration_limit_tokens(source.config(), own);
  if (!inputs.imatrix_out.empty())
    write_imatrix(inputs.imatrix_out, collect_importance(source, calibration.text.tokens, tokens, threads, progress),
                  std::min(tokens, calibration.text.tokens.token_count()), text_paths(command.data));
  const ModelConfig planned = planned_config(source.config(), own);
  const PlanTarget target = gguf_plan_target(planned, source.tokenizer(), info);
  if (inputs.resume && !fs::exists(steps)) note_nothing_to_resume("quantize", steps, progress);
  const auto work = [&] {
    return inputs.imatrix.empty()
               ? quantize(source, own, target, calibration.text.tokens, threads, progress,
                          {.steps = steps, .cache = inputs.cache}, block_learner(own.block_steps, threads))
               : quantize(source, plan_quantization(source.config(), own, target), calibration.matrix, threads,
                          progress);
  };
  QuantizedModel quantized = steps.empty() ? work() : resumable(kResumeHint, work);
  quantized.config.kv = planned.kv;
  Json learned;
  const bool learns = options.preset == "learned";
  if (learns) learned = learn(command, own, inputs, steps, source, CausalLM::load(source), quantized, progress);
  const auto write = [&] { return write_gguf_file(command.out, quantized, source.tokenizer(), info, progress); };
  Json json = steps.empty() ? write() : resumable(kResumeHint, write);
  json.update(Json::parse(quantize_record(quantized)));
  add_sizes(json, own, source.size_bytes());
  add_note(json, requantization_note(source, quantized.plan));
  for (const std::string& note : quantized.notes) add_note(json, note);
  add_source(json, own, inputs, calibration, source.config());
  if (measures(command, own, inputs))
    json["sensitivities"] = quantized.taken.sensitivity ? "taken from the cache" : "measured";
  if (inputs.resume) json["layers_taken"] = quantized.taken.layers;
  if (!steps.empty()) fs::remove_all(steps);
  if (!learns) return document(json);
  json["qad"] = learned["qad"];
  for (const Json& note : learned["notes"])
    if (std::find(json["notes"].begin(), json["notes"].end(), note) == json["notes"].end())
      json["notes"].push_back(note);
  return document(json);
}

}  // namespace attar
