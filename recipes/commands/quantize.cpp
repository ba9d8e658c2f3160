// attar quantize: a compact GGUF out of a model, and with method qad what it learns on its grid.
#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "distill/signal_source.h"
#include "distill/training_state.h"
#include "quantize/imatrix.h"
#include "recipes/commands/commands.h"
#include "recipes/commands/common.h"
#include "recipes/commands/output.h"
#include "recipes/data/teacher_signal.h"
#include "recipes/run/qad.h"
#include "recipes/run/quantize_record.h"
#include "recipes/schema/option_checks.h"
#include "runtime/base/error.h"
#include "runtime/formats/model_file.h"

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

void check_importance_flags(const CommandOptions& command, const QuantizeOptions& options,
                            const QuantizeInputs& inputs) {
  const std::string& imatrix = inputs.imatrix;
  if (!imatrix.empty() && !command.data.empty())
    throw usage_error("attar quantize", "two sources say which inputs matter", "--imatrix or --calibration");
  if (!inputs.imatrix_out.empty() && command.data.empty())
    throw usage_error("attar quantize", "--imatrix-out needs text to measure inputs on", "--calibration TEXT");
  if (!options.importance && (!imatrix.empty() || !command.data.empty()))
    throw usage_error("attar quantize", "--no-importance makes no use of --imatrix and --calibration",
                      "importance, or neither of the two");
}

// Where the training keeps its checkpoints; what cannot be begun is refused before anything is read.
std::string steps_folder(const CommandOptions& command, const QuantizeOptions& options, const QuantizeInputs& inputs) {
  if (options.method != "qad") {
    if (!inputs.training.empty() || inputs.resume)
      throw usage_error("attar quantize", "--data and --resume are for --method qad", "--calibration, or --method qad");
    return {};
  }
  if (inputs.training.empty())
    throw usage_error("attar quantize", "--method qad needs text to learn from", "--data TEXT");
  const std::string folder = command.out + ".steps";
  check_steps_folder(folder, inputs_of(command, inputs.training));
  if (!inputs.resume) TrainingCheckpoints(folder, "").require_none();
  return folder;
}

// The quantized model learns from `model`, which it was made of. -> what the document says of it
Json learn(const CommandOptions& command, const QuantizeOptions& options, const QuantizeInputs& inputs,
           const std::string& steps, const ModelFile& source, const CausalLM& model, QuantizedModel& quantized,
           const Progress& progress) {
  CommandOptions of_text = command;
  of_text.data = inputs.training;
  TextData text = text_data(of_text, source.tokenizer());
  const DistillOptions training = with_sequence_tokens(qad_training(options.qad), model.config.context_length);
  if (training.signal == "cached")
    text.tokens =
        with_teacher_signal(source, std::move(text.tokens), {}, training, steps, thread_count(command), progress);
  const TrainInputs given{.teacher = needs_teacher_beside(training, text.tokens) ? &model : nullptr,
                          .teacher_hash = source.content_hash(),
                          .student_to_teacher = {},
                          .data = &text.tokens,
                          .checkpoint_directory = steps,
                          .resume = inputs.resume,
                          .seed = static_cast<uint64_t>(command.seed),
                          .threads = thread_count(command)};
  const GridTraining done = train_on_grid(model, quantized, source.tokenizer(), given, options.qad, training, progress);
  Json json = {{"qad", Json::parse(qad_results(done.trained))}, {"notes", text.notes}};
  return json;
}

}  // namespace

std::string quantize_model(const CommandOptions& given, const QuantizeOptions& options, const QuantizeInputs& inputs,
                           const Progress& progress) {
  const std::string& imatrix = inputs.imatrix;
  require_valid(options, "attar quantize");
  check_importance_flags(given, options, inputs);
  std::vector<std::string> read = inputs.training;
  read.push_back(imatrix);
  CommandOptions command = checked(given, read);
  const std::string steps = steps_folder(command, options, inputs);
  if (command.data.empty() && imatrix.empty() && options.importance) command.data = inputs.training;
  if (!is_gguf(command.out)) throw usage_error("-o", "must end in .gguf", "a GGUF file", printable(command.out));
  const ModelFile source = ModelFile::open(command.model);
  const ExportInfo info = info_of(source);
  CausalLM model = CausalLM::load(source);
  QuantizeOptions own = options;
  own.importance = options.importance && (!imatrix.empty() || !command.data.empty());
  const PlanTarget target = gguf_plan_target(model.config, source.tokenizer(), info);
  Importance matrix;
  TextData data;
  if (!imatrix.empty()) {
    matrix = read_imatrix(imatrix);
    if (known_matrices(model.config, matrix) == 0)
      throw input_error(imatrix, "names no tensor of this model", "a matrix made with it",
                        matrix.begin()->first + ", ...");
  } else if (own.importance) {
    data = text_data(command, source.tokenizer());
  }
  if (!inputs.imatrix_out.empty())
    write_imatrix(inputs.imatrix_out,
                  collect_importance(model, data.tokens, own.calibration_tokens, thread_count(command), progress),
                  std::min(own.calibration_tokens, data.tokens.token_count()), command.data);
  const bool on_text = own.importance && imatrix.empty();
  QuantizedModel quantized =
      imatrix.empty()
          ? quantize(model, own, target, data.tokens, thread_count(command), progress)
          : quantize(model, plan_quantization(model.config, own, target), matrix, thread_count(command), progress);
  Json learned;
  if (!steps.empty()) learned = learn(command, own, inputs, steps, source, model, quantized, progress);
  Json json = write_gguf_file(command.out, quantized, source.tokenizer(), info);
  json.update(Json::parse(quantize_record(quantized)));
  json["source_bytes"] = source.size_bytes();
  add_note(json, requantization_note(source, quantized.plan));
  for (const std::string& note : quantized.notes) add_note(json, note);
  if (on_text || !steps.empty()) json["method"] = own.method;
  json["importance"] = !imatrix.empty() ? "matrix" : own.importance ? "calibration text" : "none";
  if (!imatrix.empty()) json["importance_tensors"] = known_matrices(model.config, matrix);
  for (const std::string& note : data.notes) json["notes"].push_back(note);
  if (steps.empty()) return document(json);
  fs::remove_all(steps);
  json["qad"] = learned["qad"];
  for (const Json& note : learned["notes"])
    if (std::find(data.notes.begin(), data.notes.end(), note.get<std::string>()) == data.notes.end())
      json["notes"].push_back(note);
  return document(json);
}

}  // namespace attar
