#include "quantize/plan/sized_plan.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "quantize/plan/knapsack.h"
#include "quantize/plan/plan_entry.h"
#include "runtime/base/error.h"
#include "runtime/base/words/byte_size.h"

namespace attar {
namespace {

// A type, since when llama.cpp reads it, and a rough share of a layer's output energy that it loses: encoders under an
// importance matrix, on inputs of a power-law spectrum.
struct Candidate {
  TensorType type;
  int year;
  double loss;
};
constexpr Candidate kCandidates[] = {
    {TensorType::F16, 2023, 1e-7},     {TensorType::Q8_0, 2023, 4.3e-5},   {TensorType::Q6_K, 2023, 3.5e-4},
    {TensorType::Q5_K, 2023, 1.3e-3},  {TensorType::Q5_1, 2023, 1.5e-3},   {TensorType::Q5_0, 2023, 2.0e-3},
    {TensorType::Q4_K, 2023, 4.9e-3},  {TensorType::Q4_1, 2023, 5.6e-3},   {TensorType::IQ4_NL, 2024, 5.8e-3},
    {TensorType::Q4_0, 2023, 8.2e-3},  {TensorType::IQ4_XS, 2024, 6e-3},   {TensorType::NVFP4, 2026, 5.7e-3},
    {TensorType::MXFP4, 2025, 1.4e-2}, {TensorType::Q3_K, 2023, 2.2e-2},   {TensorType::Q2_K, 2023, 6.2e-2},
    {TensorType::Q2_0, 2026, 0.13},    {TensorType::TQ2_0, 2024, 0.24},    {TensorType::TQ1_0, 2024, 0.24},
    {TensorType::Q1_0, 2026, 0.42},    {TensorType::IQ3_S, 2024, 1.4e-2},  {TensorType::IQ3_XXS, 2024, 2.3e-2},
    {TensorType::IQ2_S, 2024, 5.1e-2}, {TensorType::IQ2_XS, 2024, 6.3e-2}, {TensorType::IQ2_XXS, 2024, 8.7e-2},
    {TensorType::IQ1_M, 2024, 0.14},   {TensorType::IQ1_S, 2024, 0.18},
};

// How much an error counts beside the others where nothing was measured.
double role_weight(Role role) {
  if (role == Role::Embedding || role == Role::Output || role == Role::Value) return 2.0;
  return role == Role::Down ? 1.5 : 1.0;
}
// Nats a token for the share of all weights' energy that is lost, roughly: four bits lose a tenth of a nat.
constexpr double kNats = 15.0;

double guessed_loss(const TensorSpec& spec, const Candidate& candidate, double all_elements) {
  return kNats * role_weight(spec.role) * candidate.loss * static_cast<double>(spec.elements()) / all_elements;
}

// Tensors that take one type, and what each type costs them.
struct Unit {
  std::vector<size_t> specs;
  std::vector<TensorType> types;
  knapsack::Item item;
};

bool share_a_type(const TensorSpec& a, const TensorSpec& b, const PlanTarget& target) {
  return target.fused_qkv && a.layer == b.layer && is_qkv(a.role) && is_qkv(b.role);
}

std::vector<Unit> units_of(const std::vector<TensorSpec>& specs, const PlanTarget& target) {
  std::vector<Unit> units;
  for (size_t i = 0; i < specs.size(); ++i) {
    if (!specs[i].is_matrix()) continue;
    const auto shared = std::find_if(units.begin(), units.end(), [&](const Unit& unit) {
      return share_a_type(specs[unit.specs.front()], specs[i], target);
    });
    if (shared == units.end())
      units.push_back({{i}, {}, {}});
    else
      shared->specs.push_back(i);
  }
  return units;
}

void add_choices(Unit& unit, const std::vector<TensorSpec>& specs, const QuantizeOptions& options,
                 const Sensitivity* measured, double all_elements) {
  const TensorSpec& first = specs[unit.specs.front()];
  std::vector<TensorType> types = choosable_types(std::stoi(options.compat), options.lattice);
  const bool kept = options.keep.contains(role_name(first.role));
  if (kept) types = {fitted(kept_type(options, first, TensorType::F16), first.shape[1])};
  for (const TensorType type : types) {
    const auto* candidate = std::find_if(std::begin(kCandidates), std::end(kCandidates),
                                         [&](const Candidate& one) { return one.type == type; });
    const bool rated =
        candidate != std::end(kCandidates) && (measured == nullptr || measured->at(first.name).contains(type));
    if (!fits(type, first.shape[1]) || (!rated && !kept)) continue;
    knapsack::Choice choice{0, 0.0};  // what nobody rates, F32 and BF16, loses next to nothing
    for (const size_t i : unit.specs) {
      choice.bytes += stored_bytes(specs[i], type);
      if (rated)
        choice.loss += measured != nullptr ? measured->at(specs[i].name).at(type)
                                           : guessed_loss(specs[i], *candidate, all_elements);
    }
    unit.types.push_back(type);
    unit.item.push_back(choice);
  }
}

// All that a size has to choose from.
struct Choices {
  std::vector<TensorSpec> specs;
  std::vector<Unit> units;
  std::vector<knapsack::Item> items;  // of the units
  uint64_t always_bytes = 0;          // what no choice changes
  double all_elements = 0;

  uint64_t smallest_bytes() const { return always_bytes + knapsack::smallest_bytes(items); }
};

Choices choices_of(const ModelConfig& config, const QuantizeOptions& options, const PlanTarget& target,
                   const Sensitivity* measured) {
  Choices out{.specs = tensor_specs(config), .units = {}, .items = {}, .always_bytes = target.fixed_bytes};
  for (const TensorSpec& spec : out.specs) {
    out.all_elements += static_cast<double>(spec.elements());
    if (!spec.is_matrix()) out.always_bytes += stored_bytes(spec, TensorType::F32);
  }
  out.units = units_of(out.specs, target);
  for (Unit& unit : out.units) {
    add_choices(unit, out.specs, options, measured, out.all_elements);
    out.items.push_back(unit.item);
  }
  return out;
}

uint64_t budget_of(const QuantizeOptions& options, double all_elements) {
  if (options.target_size) return parse_size(*options.target_size, "target_size");
  return static_cast<uint64_t>(*options.target_bpw * all_elements / 8.0);
}

std::string short_text(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%g", value);
  return text;
}

}  // namespace

std::vector<TensorType> choosable_types(int year, bool lattice) {
  std::vector<TensorType> types;
  for (const Candidate& candidate : kCandidates) {
    const QuantFormat& format = format_of(candidate.type);
    const bool allowed = candidate.year <= year && (lattice || format.lattice == nullptr);
    if (allowed && (candidate.type == TensorType::F16 || format.written_in_blocks())) types.push_back(candidate.type);
  }
  return types;
}

std::string compat_note(const QuantizePlan& plan) {
  int year = 2024;
  std::string type;
  for (const PlannedTensor& planned : plan.tensors)
    for (const Candidate& candidate : kCandidates)
      if (candidate.type == planned.type && candidate.year > year)
        year = candidate.year, type = format_of(planned.type).name;
  if (year == 2024) return {};
  return "llama.cpp loads this file since " + std::to_string(year) + " (" + type + "); compat " +
         std::to_string(year - 1) + " or earlier chooses older types";
}

QuantizePlan sized_plan(const ModelConfig& config, const QuantizeOptions& options, const PlanTarget& target,
                        const Sensitivity* measured) {
  const Choices choices = choices_of(config, options, target, measured);
  const auto& [specs, units, items, always_bytes, all_elements] = choices;
  QuantizePlan plan;
  std::optional<std::vector<size_t>> chosen;
  if (options.max_kl) {
    const std::string limit = short_text(*options.max_kl);
    plan.name = "KL divergence " + limit;
    chosen = knapsack::least_bytes(items, *options.max_kl);
    if (!chosen) throw usage_error("max_kl", "cannot be met", "", limit, "keep F16 or F32");
  } else {
    const uint64_t budget = budget_of(options, all_elements), smallest = choices.smallest_bytes();
    plan.name =
        "target " + (options.target_size ? *options.target_size : short_text(*options.target_bpw) + " bits a weight");
    plan.budget_bytes = budget;
    if (budget >= always_bytes) chosen = knapsack::least_loss(items, budget - always_bytes);
    if (!chosen)
      throw usage_error(options.target_size ? "target_size" : "target_bpw", "cannot be met",
                        "at least " + std::to_string(smallest) + " bytes (" + size_text(smallest) + ")",
                        std::to_string(budget), "prune more, cut the vocabulary, or allow a larger file");
  }
  std::vector<TensorType> types(specs.size(), TensorType::F32);
  double loss = 0.0;
  for (size_t u = 0; u < units.size(); ++u) {
    loss += units[u].item[(*chosen)[u]].loss;
    for (const size_t i : units[u].specs) types[i] = units[u].types[(*chosen)[u]];
  }
  if (measured != nullptr) plan.predicted_kl = loss;
  for (size_t i = 0; i < specs.size(); ++i)
    add_entry(plan, specs[i], specs[i].is_matrix() ? kept_type(options, specs[i], types[i]) : TensorType::F32);
  return plan;
}

uint64_t smallest_file_bytes(const ModelConfig& config, const QuantizeOptions& options, const PlanTarget& target) {
  return choices_of(config, options, target, nullptr).smallest_bytes();
}

}  // namespace attar
