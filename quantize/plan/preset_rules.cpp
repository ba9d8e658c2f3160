// Source: llama.cpp, src/llama-quant.cpp, llama_tensor_get_type; tests/oracle/preset_test.py compares with the library.
#include "quantize/plan/preset_rules.h"

#include <algorithm>
#include <iterator>

namespace attar {
namespace {

// Layers, or models, that a rule is for.
enum class Where {
  Everywhere,
  SharedHeads,  // four query heads or more on one of keys and values
  FirstTwo,
  FirstFour,
  FirstSixteenth,
  FirstEighth,
  FirstEighthMeasured,    // with importance: weights against which a plain grid would go astray
  FirstEighthUnmeasured,  // without
  Unmeasured,
  MiddleLayers,  // not the first and last eighth
  MoreBits,      // the first and last eighth and every third between
};

struct Rule {
  std::string_view preset;
  Role role;
  Where where;
  TensorType type;
};
// The first that holds; else the base.
constexpr Rule kRules[] = {
    {"Q4_0", Role::Down, Where::FirstEighthMeasured, TensorType::Q4_1},
    {"Q5_0", Role::Down, Where::FirstEighthMeasured, TensorType::Q5_1},
    {"Q2_K", Role::Value, Where::SharedHeads, TensorType::Q4_K},
    {"Q2_K", Role::Value, Where::Everywhere, TensorType::Q3_K},
    {"Q2_K", Role::AttentionOutput, Where::Everywhere, TensorType::Q3_K},
    {"Q2_K", Role::Down, Where::Everywhere, TensorType::Q3_K},
    {"Q2_K_S", Role::Value, Where::SharedHeads, TensorType::Q4_K},
    {"Q2_K_S", Role::Down, Where::FirstEighth, TensorType::Q4_K},
    {"Q3_K_M", Role::Value, Where::FirstTwo, TensorType::Q5_K},
    {"Q3_K_M", Role::Value, Where::Everywhere, TensorType::Q4_K},
    {"Q3_K_M", Role::AttentionOutput, Where::Everywhere, TensorType::Q4_K},
    {"Q3_K_M", Role::Down, Where::FirstSixteenth, TensorType::Q5_K},
    {"Q3_K_M", Role::Down, Where::Everywhere, TensorType::Q4_K},
    {"Q3_K_L", Role::Value, Where::Everywhere, TensorType::Q5_K},
    {"Q3_K_L", Role::AttentionOutput, Where::Everywhere, TensorType::Q5_K},
    {"Q3_K_L", Role::Down, Where::Everywhere, TensorType::Q5_K},
    {"Q4_K_S", Role::Value, Where::FirstFour, TensorType::Q5_K},
    {"Q4_K_S", Role::Down, Where::FirstEighth, TensorType::Q5_K},
    {"Q4_K_M", Role::Value, Where::MoreBits, TensorType::Q6_K},
    {"Q4_K_M", Role::Down, Where::MoreBits, TensorType::Q6_K},
    {"Q5_K_M", Role::Value, Where::MoreBits, TensorType::Q6_K},
    {"Q5_K_M", Role::Down, Where::MoreBits, TensorType::Q6_K},
    {"IQ4_NL", Role::Value, Where::SharedHeads, TensorType::Q5_K},
    {"IQ4_NL", Role::Down, Where::FirstEighthUnmeasured, TensorType::Q5_K},
    {"IQ4_XS", Role::Value, Where::SharedHeads, TensorType::Q5_K},
    {"IQ4_XS", Role::Down, Where::FirstEighthUnmeasured, TensorType::Q5_K},
    {"TQ1_0", Role::Embedding, Where::Everywhere, TensorType::Q4_K},
    {"TQ2_0", Role::Embedding, Where::Everywhere, TensorType::Q4_K},
    {"Q2_0", Role::Embedding, Where::Everywhere, TensorType::Q4_K},
    {"IQ3_XXS", Role::Embedding, Where::Everywhere, TensorType::IQ3_S},
    {"IQ2_S", Role::Embedding, Where::Everywhere, TensorType::IQ3_S},
    {"IQ2_M", Role::Embedding, Where::Everywhere, TensorType::IQ3_S},
    {"IQ2_XS", Role::Embedding, Where::Everywhere, TensorType::Q2_K},
    {"IQ2_XXS", Role::Embedding, Where::Everywhere, TensorType::Q2_K},
    {"IQ1_M", Role::Embedding, Where::Everywhere, TensorType::Q2_K},
    {"IQ1_S", Role::Embedding, Where::Everywhere, TensorType::Q2_K},
    {"IQ3_M", Role::Value, Where::Everywhere, TensorType::Q4_K},
    {"IQ3_M", Role::AttentionOutput, Where::Everywhere, TensorType::Q4_K},
    {"IQ3_M", Role::Down, Where::FirstEighth, TensorType::Q4_K},
    {"IQ3_S", Role::Value, Where::SharedHeads, TensorType::Q4_K},
    {"IQ3_XS", Role::Value, Where::SharedHeads, TensorType::Q4_K},
    {"IQ3_XS", Role::Query, Where::Everywhere, TensorType::IQ3_XXS},
    {"IQ3_XS", Role::Key, Where::Everywhere, TensorType::IQ3_XXS},
    {"IQ3_XS", Role::Gate, Where::MiddleLayers, TensorType::IQ3_XXS},
    {"IQ3_XS", Role::Up, Where::MiddleLayers, TensorType::IQ3_XXS},
    {"IQ3_XXS", Role::Value, Where::SharedHeads, TensorType::Q4_K},
    {"IQ3_XXS", Role::Value, Where::Unmeasured, TensorType::IQ3_S},
    {"IQ3_XXS", Role::Query, Where::Everywhere, TensorType::IQ2_S},
    {"IQ3_XXS", Role::Key, Where::Everywhere, TensorType::IQ2_S},
    {"IQ3_XXS", Role::AttentionOutput, Where::Everywhere, TensorType::IQ3_S},
    {"IQ3_XXS", Role::Down, Where::FirstEighthUnmeasured, TensorType::Q4_K},
    {"IQ3_XXS", Role::Down, Where::Unmeasured, TensorType::Q3_K},
    {"IQ2_M", Role::Value, Where::SharedHeads, TensorType::Q4_K},
    {"IQ2_M", Role::Value, Where::Everywhere, TensorType::IQ3_S},
    {"IQ2_M", Role::AttentionOutput, Where::Everywhere, TensorType::IQ3_S},
    {"IQ2_M", Role::Down, Where::FirstEighth, TensorType::IQ3_S},
    {"IQ2_S", Role::Value, Where::SharedHeads, TensorType::Q4_K},
    {"IQ2_S", Role::Value, Where::Everywhere, TensorType::IQ3_S},
    {"IQ2_S", Role::AttentionOutput, Where::Everywhere, TensorType::IQ3_S},
    {"IQ2_S", Role::Down, Where::FirstEighth, TensorType::IQ3_S},
    {"IQ2_XS", Role::Value, Where::SharedHeads, TensorType::Q4_K},
    {"IQ2_XS", Role::Value, Where::Everywhere, TensorType::Q2_K},
    {"IQ2_XS", Role::Down, Where::FirstEighth, TensorType::Q2_K},
    {"IQ2_XXS", Role::Value, Where::SharedHeads, TensorType::Q4_K},
    {"IQ2_XXS", Role::Value, Where::Everywhere, TensorType::Q2_K},
    {"IQ2_XXS", Role::Down, Where::FirstEighth, TensorType::Q2_K},
    {"IQ1_M", Role::Value, Where::SharedHeads, TensorType::Q4_K},
    {"IQ1_M", Role::Value, Where::Everywhere, TensorType::Q2_K},
    {"IQ1_M", Role::Down, Where::FirstEighth, TensorType::Q2_K},
    {"IQ1_M", Role::AttentionOutput, Where::Everywhere, TensorType::IQ2_XXS},
    {"IQ1_S", Role::Value, Where::SharedHeads, TensorType::Q4_K},
    {"IQ1_S", Role::Value, Where::Everywhere, TensorType::Q2_K},
    {"IQ1_S", Role::Down, Where::FirstEighth, TensorType::Q2_K},
    {"IQ1_S", Role::AttentionOutput, Where::Everywhere, TensorType::IQ2_XXS},
};
// Presets whose head has fewer bits than others'.
constexpr std::string_view kCoarseHeads[] = {"IQ3_XXS", "IQ2_M", "IQ2_S", "IQ2_XS", "IQ2_XXS", "IQ1_M", "IQ1_S"};

bool holds(Where where, const PresetContext& preset, int64_t layer, const ModelConfig& config) {
  const int64_t n = config.n_layers();
  switch (where) {
    case Where::Everywhere:
      return true;
    case Where::SharedHeads:
      return config.layers[0].n_heads / config.layers[0].n_kv_heads >= 4;
    case Where::FirstTwo:
      return layer < 2;
    case Where::FirstFour:
      return layer < 4;
    case Where::FirstSixteenth:
      return layer < n / 16;
    case Where::FirstEighth:
      return layer < n / 8;
    case Where::FirstEighthMeasured:
      return layer < n / 8 && preset.importance;
    case Where::FirstEighthUnmeasured:
      return layer < n / 8 && !preset.importance;
    case Where::Unmeasured:
      return !preset.importance;
    case Where::MiddleLayers:
      return layer >= n / 8 && layer < 7 * n / 8;
    case Where::MoreBits:
      return layer < n / 8 || layer >= 7 * n / 8 || (layer - n / 8) % 3 == 2;
  }
  return false;
}

TensorType head_type(const PresetContext& preset, int64_t columns) {
  if (columns % format_of(preset.base).block_size != 0) return TensorType::Q8_0;
  const bool coarse =
      std::find(std::begin(kCoarseHeads), std::end(kCoarseHeads), preset.name) != std::end(kCoarseHeads);
  return coarse ? TensorType::Q5_K : TensorType::Q6_K;
}

bool is_plain(TensorType type) {
  return type == TensorType::F32 || type == TensorType::F16 || type == TensorType::BF16;
}

}  // namespace

TensorType preset_type(const PresetContext& preset, const TensorSpec& spec, const ModelConfig& config) {
  if (is_plain(preset.base) || preset.base == TensorType::Q8_0) return preset.base;
  if (spec.role == Role::Output || (spec.role == Role::Embedding && config.tied_embeddings))
    return head_type(preset, spec.shape[1]);
  const bool of_three = spec.role == Role::Query || spec.role == Role::Key || spec.role == Role::Value;
  const Role role = preset.fused_qkv && of_three ? Role::Value : spec.role;
  for (const Rule& rule : kRules)
    if (rule.preset == preset.name && rule.role == role && holds(rule.where, preset, spec.layer, config))
      return rule.type;
  return preset.base;
}

}  // namespace attar
