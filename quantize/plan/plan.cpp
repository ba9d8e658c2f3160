// Which type each tensor gets: one type for all, a llama.cpp preset with its own rules, or the best that fits a size.
#include <algorithm>
#include <cmath>

#include "quantize/plan/plan_entry.h"
#include "quantize/plan/preset_rules.h"
#include "quantize/plan/sized_plan.h"
#include "quantize/quantize.h"
#include "runtime/base/error.h"
#include "runtime/base/words/byte_size.h"
#include "runtime/base/words/suggestion.h"

namespace attar {
namespace {

std::string upper(std::string text) {
  for (char& c : text) c = static_cast<char>(c >= 'a' && c <= 'z' ? c - 32 : c);
  return text;
}

// What a name asks for. A tensor type's name is that type in every matrix that can hold it; a preset mixes types by
// llama.cpp's rules. Presets that are named like their type there are told apart by the prefix of its enumeration
// (LLAMA_FTYPE_MOSTLY_Q4_0), which every preset may have.
struct Preset {
  const char* name;
  TensorType base;
  int64_t file_type;
};
constexpr Preset kTypes[] = {
    {"F32", TensorType::F32, 0},        {"F16", TensorType::F16, 1},          {"BF16", TensorType::BF16, 32},
    {"Q4_0", TensorType::Q4_0, 2},      {"Q4_1", TensorType::Q4_1, 3},        {"Q5_0", TensorType::Q5_0, 8},
    {"Q5_1", TensorType::Q5_1, 9},      {"Q8_0", TensorType::Q8_0, 7},        {"Q2_K", TensorType::Q2_K, 21},
    {"Q3_K", TensorType::Q3_K, 11},     {"Q4_K", TensorType::Q4_K, 14},       {"Q5_K", TensorType::Q5_K, 16},
    {"Q6_K", TensorType::Q6_K, 18},     {"IQ4_NL", TensorType::IQ4_NL, 25},   {"IQ4_XS", TensorType::IQ4_XS, 30},
    {"TQ1_0", TensorType::TQ1_0, 36},   {"TQ2_0", TensorType::TQ2_0, 37},     {"MXFP4", TensorType::MXFP4, 38},
    {"NVFP4", TensorType::NVFP4, 39},   {"Q1_0", TensorType::Q1_0, 40},       {"Q2_0", TensorType::Q2_0, 41},
    {"IQ3_S", TensorType::IQ3_S, 26},   {"IQ3_XXS", TensorType::IQ3_XXS, 23}, {"IQ2_S", TensorType::IQ2_S, 28},
    {"IQ2_XS", TensorType::IQ2_XS, 20}, {"IQ2_XXS", TensorType::IQ2_XXS, 19}, {"IQ1_M", TensorType::IQ1_M, 31},
    {"IQ1_S", TensorType::IQ1_S, 24},
};
constexpr Preset kPresets[] = {
    {"MOSTLY_F16", TensorType::F16, 1},        {"MOSTLY_BF16", TensorType::BF16, 32},
    {"MOSTLY_Q4_0", TensorType::Q4_0, 2},      {"MOSTLY_Q4_1", TensorType::Q4_1, 3},
    {"MOSTLY_Q5_0", TensorType::Q5_0, 8},      {"MOSTLY_Q5_1", TensorType::Q5_1, 9},
    {"MOSTLY_Q8_0", TensorType::Q8_0, 7},      {"MOSTLY_Q4_K_S", TensorType::Q4_K, 14},
    {"MOSTLY_Q4_K_M", TensorType::Q4_K, 15},   {"MOSTLY_Q5_K_S", TensorType::Q5_K, 16},
    {"MOSTLY_Q5_K_M", TensorType::Q5_K, 17},   {"MOSTLY_Q6_K", TensorType::Q6_K, 18},
    {"MOSTLY_IQ4_NL", TensorType::IQ4_NL, 25}, {"MOSTLY_Q2_K", TensorType::Q2_K, 10},
    {"MOSTLY_Q2_K_S", TensorType::Q2_K, 21},   {"MOSTLY_Q3_K_S", TensorType::Q3_K, 11},
    {"MOSTLY_Q3_K_M", TensorType::Q3_K, 12},   {"MOSTLY_Q3_K_L", TensorType::Q3_K, 13},
    {"MOSTLY_IQ4_XS", TensorType::IQ4_XS, 30}, {"MOSTLY_TQ1_0", TensorType::TQ1_0, 36},
    {"MOSTLY_TQ2_0", TensorType::TQ2_0, 37},   {"MOSTLY_MXFP4_MOE", TensorType::Q8_0, 38},  // experts alone are MXFP4
    {"MOSTLY_Q1_0", TensorType::Q1_0, 40},     {"MOSTLY_Q2_0", TensorType::Q2_0, 41},
    {"MOSTLY_IQ3_M", TensorType::IQ3_S, 27},   {"MOSTLY_IQ3_S", TensorType::IQ3_S, 26},
    {"MOSTLY_IQ3_XS", TensorType::IQ3_S, 22},  {"MOSTLY_IQ3_XXS", TensorType::IQ3_XXS, 23},
    {"MOSTLY_IQ2_M", TensorType::IQ2_S, 29},   {"MOSTLY_IQ2_S", TensorType::IQ2_XS, 28},
    {"MOSTLY_IQ2_XS", TensorType::IQ2_XS, 20}, {"MOSTLY_IQ2_XXS", TensorType::IQ2_XXS, 19},
    {"MOSTLY_IQ1_M", TensorType::IQ1_M, 31},   {"MOSTLY_IQ1_S", TensorType::IQ1_S, 24},
};
constexpr std::string_view kMostly = "MOSTLY_";

// A row of kTypes or kPresets; null: neither.
const Preset* find_preset(const std::string& type) {
  const std::string name = upper(type), mostly = std::string(kMostly) + name;
  for (const Preset& row : kTypes)
    if (name == row.name) return &row;
  for (const Preset& row : kPresets)
    if (name == row.name || mostly == row.name) return &row;
  return nullptr;
}

bool mixes(const Preset& preset) {
  return std::string_view(preset.name).substr(0, kMostly.size()) == kMostly;
}

// Why a type or preset cannot be written, with what can.
std::string expected_type(const std::string& type) {
  const std::string name = upper(type), bare = name.rfind(kMostly, 0) == 0 ? name.substr(kMostly.size()) : name;
  const QuantFormat* format = find_format(bare);
  const bool read = format != nullptr && format->holds_weights();
  std::vector<std::string> known;
  for (const Preset& row : kTypes) known.emplace_back(row.name);
  for (const Preset& row : kPresets) known.emplace_back(std::string_view(row.name).substr(kMostly.size()));
  const std::string near = nearest(bare, known);
  return (near.empty() || read ? "" : near + ", or another: ") + std::string(kWrittenTypes) +
         (read ? "; this version reads and runs " + bare + " but has no encoder for it" : std::string());
}

QuantizePlan preset_plan(const ModelConfig& config, const QuantizeOptions& options, const Preset& preset,
                         const PlanTarget& target) {
  QuantizePlan plan;
  plan.name = upper(*options.to);
  plan.file_type = preset.file_type;
  const std::string_view name = std::string_view(preset.name).substr(mixes(preset) ? kMostly.size() : 0);
  const PresetContext mix{name, preset.base, options.importance, target.fused_qkv};
  for (const TensorSpec& spec : tensor_specs(config)) {
    const TensorType type = mixes(preset) ? preset_type(mix, spec, config) : preset.base;
    add_entry(plan, spec, spec.is_matrix() ? kept_type(options, spec, type) : TensorType::F32);
  }
  return plan;
}

// --keep may name what the model has not: output, where the embedding is the head.
void check_kept_roles(const ModelConfig& config, const QuantizeOptions& options) {
  const std::vector<TensorSpec> specs = tensor_specs(config);
  for (const auto& kept : options.keep)
    if (std::none_of(specs.begin(), specs.end(),
                     [&](const TensorSpec& spec) { return spec.is_matrix() && role_name(spec.role) == kept.first; }))
      throw usage_error("keep", "the model has no tensor of this role", "a role that it has",
                        kept.first + "=" + kept.second, "its head is its embedding: keep embedding");
}

// --keep may ask for what a fused tensor cannot hold.
void check_fused(const QuantizePlan& plan, const PlanTarget& target) {
  const PlannedTensor* query = nullptr;  // of the layer: listed before key and value
  for (const PlannedTensor& planned : plan.tensors) {
    if (!target.fused_qkv || !is_qkv(planned.spec.role)) continue;
    if (planned.spec.role == Role::Query) query = &planned;
    if (query != nullptr && planned.type != query->type)
      throw usage_error("keep", "query, key and value of this model are stored as one tensor",
                        std::string("one type for the three, such as ") + format_of(query->type).name,
                        std::string(format_of(planned.type).name) + " for " + planned.spec.name);
  }
}

}  // namespace

uint64_t QuantizePlan::tensor_bytes() const {
  uint64_t total = 0;
  for (const PlannedTensor& planned : tensors) total += stored_bytes(planned.spec, planned.type);
  return total;
}

std::vector<std::string> QuantizePlan::fallback_lines() const {
  std::vector<std::string> lines;
  for (const Fallback& fallback : fallbacks)
    lines.push_back(fallback.tensor + ": " + format_of(fallback.wanted).name + " -> " + format_of(fallback.used).name +
                    " (" + fallback.reason + ")");
  return lines;
}

std::vector<FieldRule> quantize_rules() {
  FieldRule to{.field = "to", .any_case = true};
  for (const Preset& row : kTypes) to.choices.emplace_back(row.name);
  for (const Preset& row : kPresets) {
    to.choices.emplace_back(row.name);
    if (const std::string bare = row.name + kMostly.size();
        std::find(to.choices.begin(), to.choices.end(), bare) == to.choices.end())
      to.choices.push_back(bare);
  }
  FieldRule keep{.field = "keep", .any_case = true, .words = "a tensor type that Attar writes, such as Q8_0"};
  for (const QuantFormat& format : quant_formats())
    if (format.written) keep.choices.emplace_back(format.name);
  keep.keys = {"embedding", "output", "query", "key", "value", "attention_output", "gate", "up", "down"};
  return {to,
          {.field = "target_size", .is_size = true},
          {.field = "target_bpw", .above = 0.0, .most = 32.0, .words = "bits a weight, above 0 and at most 32"},
          {.field = "max_kl", .above = 0.0, .words = "nats a token, above 0"},
          keep,
          {.field = "kv", .choices = {"f16", "int8"}},
          {.field = "compat", .choices = {"2024", "2025", "2026"}},
          {.field = "preset", .choices = {"fast", "best", "learned"}},
          {.field = "calibration_tokens", .least = 0},
          {.field = "block_steps", .least = 0},
          {.field = "qad_tokens", .least = 1},
          {.field = "qad_learning_rate", .above = 0.0},
          {.field = "qad_scale_rate", .least = 0.0},
          {.field = "qad_trains", .choices = {"all", "scales"}},
          {.field = "qad_batch_tokens", .least = 2},
          {.field = "qad_signal", .choices = {"auto", "online", "cached"}},
          {.field = "qad_precision", .choices = {"fp32", "bf16", "auto"}}};
}

std::vector<FieldProblem> check_quantize_options(const QuantizeOptions& o) {
  std::vector<FieldProblem> problems = broken_rules(o, quantize_rules());
  for (FieldProblem& problem : problems)
    if (problem.field == "to") problem.expected = expected_type(*o.to);
  if (int{o.to.has_value()} + int{o.target_size.has_value()} + int{o.target_bpw.has_value()} +
          int{o.max_kl.has_value()} !=
      1)
    problems.push_back({"to", "exactly one of `to`, `target_size`, `target_bpw` and `max_kl`"});
  if (o.max_kl && !o.importance)
    problems.push_back({"max_kl", "text to measure divergences on (calibration, with importance)", "", true});
  if (o.block_steps > 0 && (o.preset == "fast" || !o.importance))
    problems.push_back({"block_steps",
                        "preset: best or learned beside it, and text to learn from (calibration, with importance)", "",
                        true});
  return problems;
}

ModelConfig planned_config(const ModelConfig& config, const QuantizeOptions& options) {
  ModelConfig planned = config;
  if (options.kv) planned.kv = *find_kv_format(*options.kv);
  if (planned.kv == KvFormat::Int8 && options.importance)  // the room that they will take
    planned.key_scales.assign(static_cast<size_t>(planned.key_count()), 1.0f);
  return planned;
}

QuantizePlan plan_quantization(const ModelConfig& config, const QuantizeOptions& options, const PlanTarget& target,
                               const Sensitivity* measured) {
  if (const std::vector<FieldProblem> problems = check_quantize_options(options); !problems.empty())
    throw usage_error("quantize." + problems.front().field, "has an impossible value", problems.front().expected,
                      problems.front().got);
  check_kept_roles(config, options);
  QuantizePlan plan = options.to ? preset_plan(config, options, *find_preset(*options.to), target)
                                 : sized_plan(config, options, target, measured);
  plan.target = target;
  check_fused(plan, target);
  if (!options.fallback && !plan.fallbacks.empty())
    throw usage_error("no-fallback", "the plan has fallbacks", "types that every row divides by",
                      plan.fallback_lines().front(), "choose another type, or allow fallbacks");
  return plan;
}

}  // namespace attar
