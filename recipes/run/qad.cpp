#include "recipes/run/qad.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "compress/checkpoint.h"
#include "distill/block_training.h"
#include "export/export.h"
#include "quantize/grid_training.h"
#include "quantize/tensor_codes.h"
#include "runtime/base/error.h"

namespace attar {
namespace {

constexpr uint64_t kBlockSeed = 11;                // of the order in which a block reads
constexpr const char* kDivergence = "forward_kl";  // what is told of, whatever is learned by

Reparameterizations parameters_of(const CausalLM& original, const QuantizedModel& quantized, const QadOptions& options,
                                  int threads) {
  return grid_parameters(
      original, quantized,
      {.parts = options.trains == "scales" ? GridParts::Scales : GridParts::All, .scale_rate = options.scale_rate},
      threads);
}

// What of the layer has no codes stays as it was.
std::optional<BlockLoss> learn_block(const BlockLesson& lesson, QuantizedModel& codes, int64_t steps, int threads) {
  Reparameterizations parameters = grid_parameters(lesson.original, codes, {.unit = RateUnit::Cell}, threads);
  if (std::all_of(parameters.begin(), parameters.end(), [](const auto& own) { return own.second.frozen(); })) return {};
  CausalLM block = lesson.original;
  for (const auto& [name, tensor] : codes.tensors) block.parameters[name] = decoded(tensor, threads);
  BlockExamples examples{.of = {}, .channels = lesson.channels};
  for (size_t b = 0; b < lesson.walked.batches.size(); ++b)
    examples.of.push_back({lesson.walked.batches[b], lesson.walked.before[b], lesson.walked.whole[b]});
  const BlockTrainingOptions options{
      .steps = steps, .precision = find_precision("auto").value(), .seed = kBlockSeed, .threads = threads};
  const BlockTrainingResult trained = train_block(block, parameters, examples, options, lesson.between);
  if (!std::isfinite(trained.before) || trained.before <= 0.0) return {};
  if (trained.after < trained.before) take_trained(block, parameters, codes, threads);
  return BlockLoss{trained.before, trained.after};
}

// The KL divergence of a step; nothing where a kept signal said nothing of any of its tokens. By the usual losses it is
// the loss, in which such tokens count by their cross-entropy.
std::optional<double> divergence_of(const TrainStep& step, const QadOptions& options) {
  if (options.losses == QadOptions().losses) return step.loss;
  const auto measured = step.parts.find(kDivergence);
  if (measured == step.parts.end()) return std::nullopt;
  return measured->second;
}

}  // namespace

BlockLearner block_learner(int64_t steps, int threads) {
  if (steps == 0) return {};
  return [=](const BlockLesson& lesson, QuantizedModel& codes) { return learn_block(lesson, codes, steps, threads); };
}

DistillOptions qad_training(const QadOptions& options) {
  DistillOptions training;
  training.tokens = options.tokens;
  training.losses = options.losses;
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
  inputs.measured = {kDivergence};
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

std::string qad_results(const TrainResult& trained, const QadOptions& options) {
  const std::vector<TrainStep>& steps = trained.history;
  const size_t tenth = (steps.size() + 9) / 10;
  const auto mean = [&](size_t first) {
    double sum = 0.0;
    size_t count = 0;
    for (size_t i = first; i < first + tenth; ++i)
      if (const std::optional<double> divergence = divergence_of(steps[i], options)) sum += *divergence, ++count;
    return sum / static_cast<double>(count);  // of none no number: null in the report
  };
  return nlohmann::ordered_json({{"steps", trained.steps},
                                 {"tokens", trained.tokens},
                                 {"kl_before", mean(0)},
                                 {"kl_after", mean(steps.size() - tenth)}})
      .dump();
}

}  // namespace attar
