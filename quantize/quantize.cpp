#include "quantize/quantize.h"

#include <algorithm>
#include <cassert>
#include <filesystem>
#include <functional>
#include <string_view>

#include "compress/block_walk.h"
#include "quantize/calibration.h"
#include "quantize/kept/kept_codes.h"
#include "quantize/kept/kept_sensitivity.h"
#include "quantize/measure/importance.h"
#include "quantize/measure/key_scales.h"
#include "quantize/measure/sensitivity.h"
#include "quantize/measure/survey.h"
#include "quantize/plan/sized_plan.h"
#include "quantize/small_values.h"
#include "quantize/tensor_codes.h"
#include "runtime/base/error.h"
#include "runtime/formats/model_file.h"

namespace attar {
namespace {

constexpr int64_t kSequenceTokens = 512, kBatchTokens = 1024;

// Error{Input} if there is none.
std::vector<TokenBatch> batches_of(const ModelConfig& config, const TokenDataset& text, int64_t batch_tokens,
                                   int64_t max_tokens) {
  const int64_t length = std::min(kSequenceTokens, config.context_length);
  std::vector<TokenBatch> batches = batches_in_order(text, length, std::max(length, batch_tokens), max_tokens);
  if (batches.empty()) throw input_error("quantize", "the calibration data is empty", "text to measure activations on");
  return batches;
}

// What a size may choose from, and what is kept: a codebook may be kept where none is chosen.
std::vector<TensorType> measured_types(const QuantizeOptions& options) {
  std::vector<TensorType> types = choosable_types(kNewestYear, options.lattice);
  for (const auto& kept : options.keep) {
    const QuantFormat* format = find_format(kept.second);  // the plan refuses what is none
    if (format == nullptr || !format->written_in_blocks()) continue;
    if (std::find(types.begin(), types.end(), format->type) == types.end()) types.push_back(format->type);
  }
  return types;
}

struct Measuring {
  Measured values;
  bool taken = false;  // from where an earlier run has kept them
  std::string note{};
};

// What each tensor would lose in each type, measured here or before.
Measuring measured(const WeightSource& weights, const QuantizeOptions& options, const TokenDataset& calibration,
                   const std::string& model_hash, const KeptWork& kept, int threads, const Progress& progress) {
  const std::vector<TokenBatch> sequences =
      batches_of(weights.config(), calibration, 0, std::min(options.calibration_tokens, kSurveyTokens));
  const std::vector<TensorType> types = measured_types(options);
  const Rounding rounding = options.preset != "fast" ? Rounding::FedBack : Rounding::Alone;
  const KeptSensitivity cache(kept.cache.empty() ? kept.steps : kept.cache,
                              sensitivity_identity(model_hash, sequences, types, rounding));
  Measuring out;
  if (std::optional<Measured> found = cache.take(weights.config(), out.note)) {
    const std::string line = "taken from the cache: " + cache.path();
    report(progress, {.stage = "sensitivity",
                      .unit = "sequences",
                      .done = static_cast<int64_t>(sequences.size()),
                      .total = static_cast<int64_t>(sequences.size()),
                      .detail = line});
    return {.values = std::move(*found), .taken = true};
  }
  if (!out.note.empty()) report(progress, {.stage = "sensitivity", .unit = "sequences", .message = out.note});
  const KeptAt partial = cache.partial();
  const Survey survey = take_survey(weights, sequences, threads, progress, partial);
  out.values = {measure_sensitivity(weights, survey, sequences, types, rounding, threads, progress), survey.embedding,
                survey.streams};
  cache.keep(out.values);
  if (!partial.path.empty()) std::filesystem::remove(partial.path);
  return out;
}

// For the log, before the walk that reads it.
void report_text(const Progress& progress, std::string_view stage, int64_t n_layers, int64_t tokens) {
  const std::string line = std::to_string(tokens) + " tokens of calibration text";
  report(progress, {.stage = stage, .unit = "layers", .done = 0, .total = n_layers + 1, .detail = line});
}

}  // namespace

std::vector<TokenBatch> calibration_batches(const ModelConfig& config, const TokenDataset& calibration,
                                            int64_t max_tokens) {
  return batches_of(config, calibration, kBatchTokens, max_tokens);
}

Importance collect_importance(const WeightSource& weights, const TokenDataset& calibration, int64_t max_tokens,
                              int threads, const Progress& progress) {
  const ModelConfig& config = weights.config();
  const OwnVocabulary own = own_vocabulary(calibration_batches(config, calibration, max_tokens));
  const TensorSpec embedding = spec_of(config, Role::Embedding);
  CausalLM model{config, {{embedding.name, weights.rows(embedding, own.ids)}}};
  Importance importance;
  WalkOptions options{.visits = {}, .threads = threads, .weights = &weights};
  for (GroupVisit& group : options.visits) group.kind = GroupVisit::Look;
  const auto visit = [&](int64_t layer, LinearGroup group, const LinearStats& stats) {
    for (const Role role : group_roles(config, group)) importance[tensor_name(layer, role)] = input_means(stats);
  };
  walk_blocks(model, own.batches, options, visit, "importance", progress);
  return importance;
}

QuantizedModel quantize(const WeightSource& weights, const QuantizePlan& plan, const Importance& importance,
                        int threads, const Progress& progress) {
  QuantizedModel out{weights.config(), plan, {}};
  Event now{.stage = "quantize", .unit = "tensors", .total = static_cast<int64_t>(plan.tensors.size())};
  const std::function<void()> between = [&] { report(progress, now); };
  const auto encode = [&](const PlannedTensor& planned) {
    const auto known = importance.find(planned.spec.name);
    if (known != importance.end() && static_cast<int64_t>(known->second.size()) != planned.spec.shape.back())
      throw input_error("importance of " + planned.spec.name, "has another width",
                        std::to_string(planned.spec.shape.back()), std::to_string(known->second.size()),
                        "it was made for another model");
    out.tensors[planned.spec.name] =
        encode_tensor(weights, planned, known == importance.end() ? nullptr : &known->second, threads, between);
  };
  for (const PlannedTensor& planned : plan.tensors) {
    encode(planned);
    now.done = static_cast<int64_t>(out.tensors.size());
    between();
  }
  for (const size_t place : keep_small_values(out)) encode(out.plan.tensors[place]);
  return out;
}

QuantizedModel quantize(const WeightSource& weights, const QuantizeOptions& given, const PlanTarget& target,
                        const TokenDataset& calibration, int threads, const Progress& progress, const KeptWork& kept,
                        const BlockLearner& learn) {
  assert((given.block_steps > 0) == static_cast<bool>(learn));
  QuantizeOptions options = given;
  options.calibration_tokens = calibration_limit_tokens(weights.config(), given);
  const int64_t tokens = options.calibration_tokens;
  const bool feedback = options.importance && options.preset != "fast", measures = options.importance && !options.to;
  if (options.importance) weights.require_finite(threads);  // before hours are spent
  const bool keeps = (feedback && !kept.steps.empty()) || (measures && !(kept.steps + kept.cache).empty());
  const std::string model_hash = keeps ? weights.content_hash() : "";
  FeedbackInputs inputs;
  if (options.importance) inputs.batches = calibration_batches(weights.config(), calibration, tokens);
  const int64_t used_tokens = tokens_in(inputs.batches);
  inputs.left_tokens = std::max<int64_t>(0, calibration.token_count() - used_tokens);
  const KeptCodes codes(feedback ? kept.steps : "", codes_identity(model_hash, inputs.batches, options));
  Measuring measuring;
  if (measures) measuring = measured(weights, options, calibration, model_hash, kept, threads, progress);
  const Sensitivity* sensitivity = measures ? &measuring.values.sensitivity : nullptr;
  const QuantizePlan plan = plan_quantization(weights.config(), options, target, sensitivity);
  inputs.embedding = measures ? &measuring.values.embedding : nullptr;
  inputs.streams = measures ? &measuring.values.streams : nullptr;
  inputs.learn = learn;
  inputs.kept = &codes;
  if (options.importance)
    report_text(progress, feedback ? "quantize" : "importance", weights.config().n_layers(), used_tokens);
  const auto encoded = [&] {
    if (!options.importance) return quantize(weights, plan, Importance{}, threads, progress);
    if (feedback) return quantize_with_feedback(weights, plan, inputs, threads, progress);
    return quantize(weights, plan, collect_importance(weights, calibration, tokens, threads, progress), threads,
                    progress);
  };
  QuantizedModel out = encoded();
  if (options.importance && planned_config(weights.config(), options).kv == KvFormat::Int8)
    out.config.key_scales =
        key_scales(weights, calibration_batches(weights.config(), calibration, std::min(tokens, kSurveyTokens)),
                   threads, progress);
  out.taken.sensitivity = measuring.taken;
  out.calibration_tokens = used_tokens;
  if (!measuring.note.empty()) out.notes.push_back(measuring.note);
  if (const std::string note = compat_note(plan); !options.to && !note.empty()) out.notes.push_back(note);
  return out;
}

std::string requantization_note(const ModelFile& source, const QuantizePlan& plan) {
  const bool rounds = std::any_of(plan.tensors.begin(), plan.tensors.end(),
                                  [](const PlannedTensor& planned) { return format_of(planned.type).block_size > 1; });
  std::map<std::string, int64_t> types;  // of matrices in blocks
  int64_t matrices = 0, rounded = 0;
  for (const TensorSpec& spec : tensor_specs(source.config())) {
    const QuantFormat& format = format_of(source.tensor(spec.name).type);
    if (!spec.is_matrix()) continue;
    ++matrices;
    if (format.block_size > 1) ++types[format.name], ++rounded;
  }
  if (!rounds || types.empty()) return {};
  std::string names;
  for (const auto& [name, count] : types) names += (names.empty() ? "" : ", ") + name;
  return "the weights were quantized already (" + names + " in " + std::to_string(rounded) + " of " +
         std::to_string(matrices) + " matrices): rounding them again adds its error to the one they have; start from " +
         "unquantized weights where there are any";
}

}  // namespace attar
