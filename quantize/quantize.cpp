#include "quantize/quantize.h"

#include <ATen/TensorOperators.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <set>

#include "compress/block_walk.h"
#include "compress/shards.h"
#include "quantize/encode.h"
#include "quantize/gptq.h"
#include "quantize/grid.h"
#include "quantize/importance.h"
#include "quantize/sensitivity.h"
#include "quantize/sized_plan.h"
#include "quantize/survey.h"
#include "runtime/base/error.h"
#include "runtime/formats/finite.h"
#include "runtime/formats/model_file.h"

namespace attar {
namespace {

constexpr int64_t kSequenceTokens = 512, kBatchTokens = 1024;
constexpr int64_t kRowsAPart = 64;
constexpr int64_t kTokensAnInput = 16;  // fewer: error feedback follows their noise

// The share of its energy beyond which a tensor is lost. Values below a type's smallest lose everything. Rounding loses
// what the bits are too few for: of normal values .005 under four bits, .05 to .12 under two and a half, .19 under
// three levels, .36 under signs alone, and of longer tails up to half as much again; always less than 2^(1 - bits).
double most_loss(TensorType type) {
  return std::max(0.1, std::exp2(1.0 - format_of(type).bits_per_weight()));
}

std::vector<TokenBatch> survey_sequences(const CausalLM& model, const TokenDataset& calibration, int64_t max_tokens) {
  const int64_t length = std::min(kSequenceTokens, model.config.context_length);
  std::vector<TokenBatch> sequences =
      batches_in_order(calibration, length, length, std::min(max_tokens, kSurveyTokens));
  if (sequences.empty())
    throw input_error("quantize", "the calibration data is empty", "text to measure activations on");
  return sequences;
}

std::vector<TokenBatch> calibration_batches(const CausalLM& model, const TokenDataset& calibration,
                                            int64_t max_tokens) {
  std::vector<TokenBatch> batches =
      batches_in_order(calibration, std::min(kSequenceTokens, model.config.context_length), kBatchTokens, max_tokens);
  if (batches.empty()) throw input_error("quantize", "the calibration data is empty", "text to measure activations on");
  return batches;
}

// A scale or value that became infinite: F16, also inside blocks, ends at 65504.
void require_held(const PlannedTensor& planned, double error) {
  if (!std::isfinite(error))
    throw input_error("tensor " + planned.spec.name,
                      std::string("holds values too large for ") + format_of(planned.type).name, "", "",
                      "keep it in another type, such as BF16 or F32");
}

QuantizedTensor encode_tensor(const at::Tensor& tensor, const PlannedTensor& planned,
                              const std::vector<float>* importance, int threads) {
  const QuantFormat& format = format_of(planned.type);
  const at::Tensor values = tensor.contiguous();
  const auto* data = values.const_data_ptr<float>();
  require_finite(planned.spec.name, {data, static_cast<size_t>(values.numel())});
  const int64_t columns = values.size(-1), rows = values.numel() / columns, row_bytes = format.row_bytes(columns);
  QuantizedTensor out{planned.type, planned.spec.shape, std::vector<std::byte>(static_cast<size_t>(rows * row_bytes))};
  const std::vector<float> weights = importance != nullptr ? relative_weights(*importance) : std::vector<float>();
  const int64_t parts = (rows + kRowsAPart - 1) / kRowsAPart;
  std::vector<EncodeLoss> losses(static_cast<size_t>(parts));
  run_shards(parts, threads, [&](int64_t part) {
    const int64_t first = part * kRowsAPart, count = std::min(kRowsAPart, rows - first);
    const std::span<const float> given(data + first * columns, static_cast<size_t>(count * columns));
    losses[static_cast<size_t>(part)] = encode_rows(
        format, given, weights,
        std::span(out.bytes).subspan(static_cast<size_t>(first * row_bytes), static_cast<size_t>(count * row_bytes)));
  });
  EncodeLoss total;
  for (const EncodeLoss& loss : losses) total.error += loss.error, total.energy += loss.energy;
  require_held(planned, total.error);
  out.relative_error = total.energy > 0.0 ? total.error / total.energy : 0.0;
  return out;
}

// The same under error feedback. -> what the bytes decode to, (out, in)
at::Tensor encode_with_feedback(const at::Tensor& tensor, const PlannedTensor& planned,
                                const gptq::InputHessian& inputs, const std::vector<float>& weights, int threads,
                                QuantizedTensor& out) {
  const QuantFormat& format = format_of(planned.type);
  at::Tensor values = tensor.detach().clone();
  require_finite(planned.spec.name, {values.const_data_ptr<float>(), static_cast<size_t>(values.numel())});
  const int64_t columns = values.size(1), rows = values.size(0), row_bytes = format.row_bytes(columns);
  out = {planned.type, planned.spec.shape, std::vector<std::byte>(static_cast<size_t>(rows * row_bytes))};
  const int64_t parts = (rows + kRowsAPart - 1) / kRowsAPart;
  std::vector<gptq::OutputError> errors(static_cast<size_t>(parts));
  run_shards(parts, threads, [&](int64_t part) {
    const int64_t begin = part * kRowsAPart, count = std::min(rows - begin, kRowsAPart);
    errors[static_cast<size_t>(part)] = gptq::encode_rows(
        format, inputs, weights, values.narrow(0, begin, count),
        std::span(out.bytes).subspan(static_cast<size_t>(begin * row_bytes), static_cast<size_t>(count * row_bytes)));
  });
  gptq::OutputError total;
  for (const gptq::OutputError& error : errors)
    total.nearest += error.nearest, total.kept += error.kept, total.energy += error.energy;
  require_held(planned, total.kept);
  out.relative_error = total.energy > 0.0 ? total.kept / total.energy : 0.0;
  out.rounding_error = total.energy > 0.0 ? total.nearest / total.energy : 0.0;
  return values;
}

// Places in the plan of what goes as F32 with `place`: itself, and where query, key and value are one tensor those
// three.
std::vector<size_t> shared_type(const QuantizePlan& plan, size_t place) {
  const auto one_of_three = [](const TensorSpec& spec) {
    return spec.role == Role::Query || spec.role == Role::Key || spec.role == Role::Value;
  };
  const TensorSpec& lost = plan.tensors[place].spec;
  std::vector<size_t> places;
  for (size_t i = 0; i < plan.tensors.size(); ++i) {
    const TensorSpec& spec = plan.tensors[i].spec;
    const bool together = plan.target.fused_qkv && one_of_three(lost) && one_of_three(spec) && spec.layer == lost.layer;
    if (i == place || together) places.push_back(i);
  }
  return places;
}

// Plans as F32 what its type would lose. -> the places in the plan
std::set<size_t> keep_small_values(QuantizedModel& model) {
  QuantizePlan& plan = model.plan;
  std::set<size_t> changed;
  for (size_t i = 0; i < plan.tensors.size(); ++i) {
    const double loss = model.tensors.at(plan.tensors[i].spec.name).relative_error;
    if (loss <= most_loss(plan.tensors[i].type)) continue;
    char share[32];
    std::snprintf(share, sizeof share, "%.0f", 100.0 * loss);
    for (const size_t place : shared_type(plan, i)) {
      PlannedTensor& planned = plan.tensors[place];
      if (planned.type == TensorType::F32 || !changed.insert(place).second) continue;
      plan.fallbacks.push_back({planned.spec.name, planned.type, TensorType::F32,
                                place == i
                                    ? "values too small for it: " + std::string(share) + " % of their energy lost"
                                    : "of one type with " + plan.tensors[i].spec.name});
      planned.type = TensorType::F32;
    }
  }
  if (changed.empty() || !plan.budget_bytes) return changed;
  if (const uint64_t bytes = plan.tensor_bytes() + plan.target.fixed_bytes; bytes > *plan.budget_bytes)
    throw input_error("tensor " + plan.tensors[*changed.begin()].spec.name,
                      "holds values too small for its type, and the file has no room for them as F32",
                      std::to_string(*plan.budget_bytes) + " bytes", std::to_string(bytes),
                      "allow a larger file, or keep its role at BF16");
  return changed;
}

}  // namespace

Importance collect_importance(const CausalLM& model, const TokenDataset& calibration, int64_t max_tokens, int threads,
                              const Progress& progress) {
  const std::vector<TokenBatch> batches = calibration_batches(model, calibration, max_tokens);
  Importance importance;
  WalkOptions options{.visits = {}, .threads = threads};
  for (GroupVisit& group : options.visits) group.kind = GroupVisit::Look;
  const auto visit = [&](int64_t layer, LinearGroup group, const LinearStats& stats) {
    for (const Role role : group_roles(model.config, group)) importance[tensor_name(layer, role)] = input_means(stats);
  };
  CausalLM looked_at = model;  // no visit changes it
  walk_blocks(looked_at, batches, options, visit, "importance", progress);
  return importance;
}

namespace {

// Error feedback along the block walk.
class FeedbackPass {
 public:
  FeedbackPass(const CausalLM& model, const QuantizePlan& plan, int threads)
      : model_(model), threads_(threads), changed_(model), out_{model.config, plan, {}} {
    for (const PlannedTensor& one : plan.tensors) planned_[one.spec.name] = &one;
  }

  // Before the walk, which is given what the embedding's codes stand for.
  void embedding(const Survey& survey) {
    const std::string name = tensor_name(0, Role::Embedding);
    encode(name, gptq::input_hessian(survey.embedding, 1), survey.weights.at(name));
  }
  void group(int64_t layer, LinearGroup group, const LinearStats& stats) {
    const gptq::InputHessian inputs = gptq::input_hessian(stats.gram, stats.tokens);
    const std::vector<float> weights = relative_weights(input_means(stats));
    for (const Role role : group_roles(model_.config, group)) encode(tensor_name(layer, role), inputs, weights);
  }
  CausalLM& changed() { return changed_; }
  QuantizedModel& out() { return out_; }

 private:
  void encode(const std::string& name, const gptq::InputHessian& inputs, const std::vector<float>& weights) {
    const PlannedTensor& planned = *planned_.at(name);
    QuantizedTensor& tensor = out_.tensors[name];
    if (!has_grid(format_of(planned.type))) {
      tensor = encode_tensor(model_.parameter(name).detach(), planned, nullptr, threads_);
      return;
    }
    at::Tensor values = encode_with_feedback(model_.parameter(name), planned, inputs, weights, threads_, tensor);
    if (tensor.relative_error <= most_loss(planned.type)) changed_.parameters[name] = std::move(values);  // others: F32
  }

  const CausalLM& model_;
  int threads_;
  CausalLM changed_;
  QuantizedModel out_;
  std::map<std::string, const PlannedTensor*> planned_;
};

}  // namespace

QuantizedModel quantize_with_feedback(const CausalLM& model, const QuantizePlan& plan, const Survey* survey,
                                      const TokenDataset& calibration, int64_t max_tokens, int threads,
                                      const Progress& progress) {
  FeedbackPass pass(model, plan, threads);
  if (survey != nullptr) pass.embedding(*survey);
  WalkOptions options{.visits = {}, .threads = threads};
  for (GroupVisit& group : options.visits) group = {.kind = GroupVisit::Change, .gram = true};
  if (survey != nullptr && model.config.tied_embeddings) options.visits[static_cast<size_t>(LinearGroup::Head)] = {};
  int64_t missing_tokens = 0;
  walk_blocks(
      pass.changed(), calibration_batches(model, calibration, max_tokens), options,
      [&](int64_t layer, LinearGroup group, const LinearStats& stats) {
        missing_tokens = std::max(missing_tokens, kTokensAnInput * stats.gram.size(0) - stats.tokens);
        pass.group(layer, group, stats);
      },
      "quantize", progress);
  QuantizedModel& out = pass.out();
  for (const PlannedTensor& one : plan.tensors)
    if (!out.tensors.contains(one.spec.name))
      out.tensors[one.spec.name] = encode_tensor(model.parameter(one.spec.name).detach(), one, nullptr, threads);
  for (const size_t place : keep_small_values(out)) {
    const PlannedTensor& one = out.plan.tensors[place];
    out.tensors[one.spec.name] = encode_tensor(model.parameter(one.spec.name).detach(), one, nullptr, threads);
  }
  if (missing_tokens > 0)
    out.notes.push_back("the calibration text is " + std::to_string(missing_tokens) +
                        " tokens short of 16 for each input of the widest layer: more of it, of the kinds the model is "
                        "for, would keep more");
  return out;
}

QuantizedModel quantize(const CausalLM& model, const QuantizePlan& plan, const Importance& importance, int threads,
                        const Progress& progress) {
  QuantizedModel out{model.config, plan, {}};
  const auto total = static_cast<int64_t>(plan.tensors.size());
  const auto encode = [&](const PlannedTensor& planned) {
    const auto known = importance.find(planned.spec.name);
    if (known != importance.end() && static_cast<int64_t>(known->second.size()) != planned.spec.shape.back())
      throw input_error("importance of " + planned.spec.name, "has another width",
                        std::to_string(planned.spec.shape.back()), std::to_string(known->second.size()),
                        "it was made for another model");
    out.tensors[planned.spec.name] = encode_tensor(model.parameter(planned.spec.name).detach(), planned,
                                                   known == importance.end() ? nullptr : &known->second, threads);
  };
  for (const PlannedTensor& planned : plan.tensors) {
    encode(planned);
    report(progress,
           {.stage = "quantize", .unit = "tensors", .done = static_cast<int64_t>(out.tensors.size()), .total = total});
  }
  for (const size_t place : keep_small_values(out)) encode(out.plan.tensors[place]);
  return out;
}

QuantizedModel quantize(const CausalLM& model, const QuantizeOptions& options, const PlanTarget& target,
                        const TokenDataset& calibration, int threads, const Progress& progress) {
  const int64_t tokens = options.calibration_tokens;
  const bool feedback = options.importance && options.preset != "fast";
  if (options.max_kl && !options.importance)
    throw usage_error("max_kl", "needs text to measure divergences on", "calibration text, and importance");
  std::optional<Survey> survey;
  std::optional<Sensitivity> measured;
  if (options.importance && !options.to) {
    const std::vector<TokenBatch> sequences = survey_sequences(model, calibration, tokens);
    survey = take_survey(model, sequences, threads, progress);
    measured = measure_sensitivity(model, *survey, sequences, choosable_types(options),
                                   feedback ? Rounding::FedBack : Rounding::Alone, threads, progress);
  }
  const QuantizePlan plan = plan_quantization(model.config, options, target, measured ? &*measured : nullptr);
  const auto encoded = [&] {
    if (!options.importance) return quantize(model, plan, Importance{}, threads, progress);
    if (feedback)
      return quantize_with_feedback(model, plan, survey ? &*survey : nullptr, calibration, tokens, threads, progress);
    return quantize(model, plan, collect_importance(model, calibration, tokens, threads, progress), threads, progress);
  };
  QuantizedModel out = encoded();
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
