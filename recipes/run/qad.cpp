#include "recipes/run/qad.h"

#include <nlohmann/json.hpp>

#include "compress/checkpoint.h"
#include "export/export.h"
#include "quantize/grid_training.h"
#include "runtime/base/error.h"

namespace attar {
namespace {

Reparameterizations parameters_of(const CausalLM& original, const QuantizedModel& quantized, const QadOptions& options,
                                  int threads) {
  return grid_parameters(
      original, quantized,
      {.parts = options.trains == "scales" ? GridParts::Scales : GridParts::All, .scale_rate = options.scale_rate},
      threads);
}

}  // namespace

DistillOptions qad_training(const QadOptions& options) {
  DistillOptions training;
  training.tokens = options.tokens;
  training.learning_rate = options.learning_rate;
  training.schedule = "linear";
  training.final_learning_rate_ratio = 0.0;
  training.batch_tokens = options.batch_tokens;
  training.signal = options.signal;
  training.precision = options.precision;
  return training;
}

GridTraining train_on_grid(const CausalLM& original, QuantizedModel& quantized, const TokenizerData& tokenizer,
                           TrainInputs inputs, const QadOptions& options, const DistillOptions& training,
                           const Progress& progress) {
  GridTraining out{.student = dequantized(quantized)};
  out.parameters = parameters_of(original, quantized, options, inputs.threads);
  inputs.student_hash += content_hash(quantized);
  inputs.reparameterized = &out.parameters;
  inputs.stage = "learn";
  out.trained = train(out.student, tokenizer, inputs, training, progress);
  take_trained(out.student, out.parameters, quantized, inputs.threads);
  return out;
}

void restore_trained(const std::string& folder, const CausalLM& original, QuantizedModel& quantized,
                     const QadOptions& options, int threads) {
  const Checkpoint checkpoint = read_checkpoint(folder);
  Reparameterizations parameters = parameters_of(original, quantized, options, threads);
  for (auto& [tensor, own] : parameters)
    for (auto& [name, values] : own.parameters) {
      const auto kept = checkpoint.extra.find(tensor + "." + name);
      if (kept == checkpoint.extra.end() || kept->second.sizes() != values.sizes() ||
          kept->second.scalar_type() != values.scalar_type())
        throw input_error(folder + "/extra.safetensors", "is damaged", "", "",
                          "delete its folder and resume: the stage runs again");
      values = kept->second;
    }
  take_trained(checkpoint.model, parameters, quantized, threads);
}

std::string qad_results(const TrainResult& trained) {
  const std::vector<TrainStep>& steps = trained.history;
  const size_t tenth = (steps.size() + 9) / 10;
  const auto mean = [&](size_t first) {
    double sum = 0.0;
    for (size_t i = first; i < first + tenth; ++i) sum += steps[i].loss;
    return sum / static_cast<double>(tenth);
  };
  return nlohmann::ordered_json({{"steps", trained.steps},
                                 {"tokens", trained.tokens},
                                 {"kl_before", mean(0)},
                                 {"kl_after", mean(steps.size() - tenth)}})
      .dump();
}

}  // namespace attar
