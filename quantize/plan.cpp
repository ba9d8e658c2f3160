// Which type each tensor gets: one type for all, a llama.cpp preset with its own rules, or the best that fits a size.
#include <algorithm>
#include <charconv>
#include <cmath>

#include "quantize/preset_rules.h"
#include "quantize/quantize.h"
#include "runtime/base/error.h"

namespace attar {
namespace {

constexpr uint64_t kAlignment = 32;

std::string upper(std::string text) {
  for (char& c : text) c = static_cast<char>(c >= 'a' && c <= 'z' ? c - 32 : c);
  return text;
}

bool fits(TensorType type, int64_t columns) {
  return columns % format_of(type).block_size == 0;
}

// What llama.cpp takes when a row does not divide by the block (llama_tensor_get_type and its fallbacks).
TensorType stock_fallback(TensorType type, int64_t columns) {
  struct Row {
    TensorType from, to;
  };
  static constexpr Row kRows[] = {{TensorType::Q4_K, TensorType::Q5_0},
                                  {TensorType::Q5_K, TensorType::Q5_1},
                                  {TensorType::Q6_K, TensorType::Q8_0},
                                  {TensorType::Q2_K, TensorType::Q4_0},
                                  {TensorType::Q3_K, TensorType::Q4_0},
                                  {TensorType::TQ1_0, TensorType::Q4_0},
                                  {TensorType::TQ2_0, TensorType::Q4_0},
                                  {TensorType::Q2_0, TensorType::Q4_0},
                                  {TensorType::IQ4_XS, TensorType::IQ4_NL},
                                  // llama.cpp refuses these: of as many bits, or the next coarse type that fits.
                                  {TensorType::NVFP4, TensorType::IQ4_NL},
                                  {TensorType::Q1_0, TensorType::Q2_0},
                                  {TensorType::Q1_0, TensorType::Q4_0}};
  for (const Row& row : kRows)
    if (row.from == type && fits(row.to, columns)) return row.to;
  return TensorType::F16;
}

TensorType fitted(TensorType type, int64_t columns) {
  return fits(type, columns) ? type : stock_fallback(type, columns);
}

void add(QuantizePlan& plan, const TensorSpec& spec, TensorType wanted) {
  const TensorType used = spec.is_matrix() ? fitted(wanted, spec.shape[1]) : TensorType::F32;
  if (spec.is_matrix() && used != wanted)
    plan.fallbacks.push_back(
        {spec.name, wanted, used,
         std::to_string(spec.shape[1]) + " columns do not divide by " + std::to_string(format_of(wanted).block_size)});
  plan.tensors.push_back({spec, used});
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
    {"F32", TensorType::F32, 0},      {"F16", TensorType::F16, 1},        {"BF16", TensorType::BF16, 32},
    {"Q4_0", TensorType::Q4_0, 2},    {"Q4_1", TensorType::Q4_1, 3},      {"Q5_0", TensorType::Q5_0, 8},
    {"Q5_1", TensorType::Q5_1, 9},    {"Q8_0", TensorType::Q8_0, 7},      {"Q2_K", TensorType::Q2_K, 21},
    {"Q3_K", TensorType::Q3_K, 11},   {"Q4_K", TensorType::Q4_K, 14},     {"Q5_K", TensorType::Q5_K, 16},
    {"Q6_K", TensorType::Q6_K, 18},   {"IQ4_NL", TensorType::IQ4_NL, 25}, {"IQ4_XS", TensorType::IQ4_XS, 30},
    {"TQ1_0", TensorType::TQ1_0, 36}, {"TQ2_0", TensorType::TQ2_0, 37},   {"MXFP4", TensorType::MXFP4, 38},
    {"NVFP4", TensorType::NVFP4, 39}, {"Q1_0", TensorType::Q1_0, 40},     {"Q2_0", TensorType::Q2_0, 41},
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
};
constexpr std::string_view kMostly = "MOSTLY_";
constexpr const char* kWritten =
    "Q8_0, Q6_K, Q5_K, Q5_1, Q5_0, Q4_K, Q4_1, Q4_0, IQ4_NL, IQ4_XS, NVFP4, MXFP4, Q3_K, Q2_K, Q2_0, TQ2_0, TQ1_0, "
    "Q1_0, F16, BF16 or F32 for every tensor; or a preset of llama.cpp: Q2_K_S, Q3_K_S, Q3_K_M, Q3_K_L, Q4_K_S, "
    "Q4_K_M, "
    "Q5_K_S, Q5_K_M, MXFP4_MOE, or one that is named like a type, after MOSTLY_: MOSTLY_Q4_0, MOSTLY_Q2_K, ...";
constexpr const char* kUnwrittenPresets[] = {"IQ3_M", "IQ3_XS", "IQ2_M"};

bool is_qkv(Role role) {
  return role == Role::Query || role == Role::Key || role == Role::Value;
}

TensorType kept_type(const QuantizeOptions& options, const TensorSpec& spec, TensorType otherwise) {
  const auto kept = options.keep.find(role_name(spec.role));
  return kept == options.keep.end() ? otherwise : find_format(kept->second)->type;
}

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
  const bool read =
      (format != nullptr && format->holds_weights()) ||
      std::find(std::begin(kUnwrittenPresets), std::end(kUnwrittenPresets), bare) != std::end(kUnwrittenPresets);
  return kWritten + (read ? "; this version reads and runs " + bare + " but has no encoder for it" : std::string());
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
    add(plan, spec, spec.is_matrix() ? kept_type(options, spec, type) : TensorType::F32);
  }
  return plan;
}

// A rough share of a layer's output energy that a type loses, to rank plans by: ggml's encoders of 2025 with an
// importance matrix, on inputs of a power-law spectrum.
struct Choice {
  TensorType type;
  double loss;
};
constexpr Choice kChoices[] = {{TensorType::IQ4_NL, 5.8e-3}, {TensorType::Q4_K, 4.9e-3}, {TensorType::Q5_0, 2.0e-3},
                               {TensorType::Q5_K, 1.3e-3},   {TensorType::Q6_K, 3.5e-4}, {TensorType::Q8_0, 4.3e-5},
                               {TensorType::F16, 1e-7}};

// Roles that share a type, and how much an error there matters beside the others.
struct RoleGroup {
  std::vector<Role> roles;
  double weight;
};

uint64_t padded_bytes(const TensorSpec& spec, TensorType type) {
  const QuantFormat& format = format_of(type);
  const auto bytes = static_cast<uint64_t>(spec.elements() / format.block_size * format.block_bytes);
  return (bytes + kAlignment - 1) / kAlignment * kAlignment;
}

// What a role group costs and loses when it takes one of the choices; infinite loss where its rows do not divide.
struct Cost {
  uint64_t bytes = 0;
  double loss = 0.0;
};

constexpr size_t kChoiceCount = std::size(kChoices);

std::vector<RoleGroup> role_groups(const PlanTarget& target) {
  std::vector<RoleGroup> groups = {{{Role::Embedding, Role::Output}, 2.0},
                                   {{Role::Query, Role::Key, Role::AttentionOutput}, 1.0},
                                   {{Role::Value}, 2.0},
                                   {{Role::Gate, Role::Up}, 1.0},
                                   {{Role::Down}, 1.5}};
  if (target.fused_qkv) {
    groups[1].roles.push_back(Role::Value);
    groups.erase(groups.begin() + 2);
  }
  return groups;
}

// The place of the role's group; groups.size() for vectors.
size_t group_of(const std::vector<RoleGroup>& groups, Role role) {
  const auto found = std::find_if(groups.begin(), groups.end(), [&](const RoleGroup& group) {
    return std::find(group.roles.begin(), group.roles.end(), role) != group.roles.end();
  });
  return static_cast<size_t>(found - groups.begin());
}

// costs[g][t]: group g with choice t. A type that the user keeps costs the same in every choice.
std::vector<std::vector<Cost>> group_costs(const std::vector<RoleGroup>& groups, const std::vector<TensorSpec>& specs,
                                           const QuantizeOptions& options) {
  std::vector<std::vector<Cost>> costs(groups.size(), std::vector<Cost>(kChoiceCount));
  for (const TensorSpec& spec : specs) {
    const size_t g = group_of(groups, spec.role);
    if (g == groups.size()) continue;
    const bool kept = options.keep.count(role_name(spec.role)) != 0;
    for (size_t t = 0; t < kChoiceCount; ++t) {
      const TensorType type = fitted(kept_type(options, spec, kChoices[t].type), spec.shape[1]);
      costs[g][t].bytes += padded_bytes(spec, type);
      if (kept) continue;
      costs[g][t].loss += type == kChoices[t].type
                              ? groups[g].weight * kChoices[t].loss * static_cast<double>(spec.elements())
                              : HUGE_VAL;
    }
  }
  return costs;
}

// Of all combinations of choices the one that loses least within the budget. -> a choice for each group
std::vector<size_t> best_choices(const std::vector<std::vector<Cost>>& costs, uint64_t always_bytes,
                                 uint64_t budget_bytes) {
  double best_loss = HUGE_VAL;
  uint64_t smallest = UINT64_MAX;
  std::vector<size_t> choices(costs.size(), 0), best;
  for (bool more = true; more;) {
    Cost total{always_bytes, 0.0};
    for (size_t g = 0; g < costs.size(); ++g) {
      total.bytes += costs[g][choices[g]].bytes;
      total.loss += costs[g][choices[g]].loss;
    }
    if (total.loss < HUGE_VAL) smallest = std::min(smallest, total.bytes);
    if (total.bytes <= budget_bytes && total.loss < best_loss) best_loss = total.loss, best = choices;
    more = false;  // the next combination, the first group turning fastest
    for (size_t g = 0; g < costs.size() && !more; ++g) {
      more = ++choices[g] < kChoiceCount;
      if (!more) choices[g] = 0;
    }
  }
  if (best.empty())
    throw usage_error("target_size", "cannot be met", "at least " + std::to_string(smallest) + " bytes",
                      std::to_string(budget_bytes), "prune more, cut the vocabulary, or allow a larger file");
  return best;
}

QuantizePlan sized_plan(const ModelConfig& config, const QuantizeOptions& options, uint64_t budget_bytes,
                        const PlanTarget& target) {
  const std::vector<RoleGroup> groups = role_groups(target);
  const std::vector<TensorSpec> specs = tensor_specs(config);
  uint64_t always_bytes = target.fixed_bytes;
  for (const TensorSpec& spec : specs)
    if (group_of(groups, spec.role) == groups.size()) always_bytes += padded_bytes(spec, TensorType::F32);
  const std::vector<size_t> best = best_choices(group_costs(groups, specs, options), always_bytes, budget_bytes);
  QuantizePlan plan;
  plan.name = "target " + *options.target_size;
  plan.budget_bytes = budget_bytes;
  for (const TensorSpec& spec : specs) {
    const size_t g = group_of(groups, spec.role);
    add(plan, spec, g < groups.size() ? kept_type(options, spec, kChoices[best[g]].type) : TensorType::F32);
  }
  return plan;
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
  for (const PlannedTensor& planned : tensors) total += padded_bytes(planned.spec, planned.type);
  return total;
}

uint64_t parse_size(const std::string& text, const std::string& where) {
  struct Unit {
    const char* suffix;
    double bytes;
  };
  static constexpr Unit kUnits[] = {{"", 1.0},   {"B", 1.0},      {"KB", 1e3},     {"MB", 1e6},
                                    {"GB", 1e9}, {"KiB", 0x1p10}, {"MiB", 0x1p20}, {"GiB", 0x1p30}};
  double number = 0.0;
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), number);
  const std::string suffix(end, text.data() + text.size());
  if (code == std::errc() && number > 0.0 && number < 1e15)
    for (const Unit& unit : kUnits)
      if (suffix == unit.suffix) return static_cast<uint64_t>(number * unit.bytes);
  throw usage_error(where, "is not a size", "a number with B, KB, MB, GB, KiB, MiB or GiB, such as 60MB",
                    printable(text));
}

std::vector<std::string> QuantizePlan::fallback_lines() const {
  std::vector<std::string> lines;
  for (const Fallback& fallback : fallbacks)
    lines.push_back(fallback.tensor + ": " + format_of(fallback.wanted).name + " -> " + format_of(fallback.used).name +
                    " (" + fallback.reason + ")");
  return lines;
}

std::vector<FieldProblem> check_quantize_options(const QuantizeOptions& o) {
  std::vector<FieldProblem> problems;
  if (o.to.has_value() == o.target_size.has_value())
    problems.push_back({"to", "exactly one of `to` and `target_size`"});
  if (o.to && find_preset(*o.to) == nullptr) problems.push_back({"to", expected_type(*o.to), printable(*o.to)});
  if (o.target_size) {
    try {
      parse_size(*o.target_size);
    } catch (const Error& error) {
      problems.push_back({"target_size", error.parts().expected, error.parts().got});
    }
  }
  for (const auto& [role, type] : o.keep) {
    const QuantFormat* format = find_format(type);
    if (find_role(role) == nullptr)
      problems.push_back({"keep." + printable(role),
                          "a role: embedding, output, query, key, value, attention_output, gate, up or down"});
    if (format == nullptr || format->encode == nullptr)
      problems.push_back({"keep." + printable(role), "a tensor type that Attar writes, such as Q8_0", printable(type)});
  }
  if (o.method != "best" && o.method != "fast") problems.push_back({"method", "best or fast", printable(o.method)});
  if (o.calibration_tokens < 1) problems.push_back({"calibration_tokens", "a whole number of at least 1"});
  return problems;
}

QuantizePlan plan_quantization(const ModelConfig& config, const QuantizeOptions& options, const PlanTarget& target) {
  if (const std::vector<FieldProblem> problems = check_quantize_options(options); !problems.empty())
    throw usage_error("quantize." + problems.front().field, "has an impossible value", problems.front().expected,
                      problems.front().got);
  QuantizePlan plan = options.target_size ? sized_plan(config, options, parse_size(*options.target_size), target)
                                          : preset_plan(config, options, *find_preset(*options.to), target);
  plan.target = target;
  check_fused(plan, target);
  return plan;
}

}  // namespace attar
