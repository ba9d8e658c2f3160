// Source: llama.cpp, src/llama-quant.cpp, llama_tensor_get_type; tests/oracle/preset_test.py compares with the library.
#include "quantize/plan/preset_rules.h"

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
  MoreBits,               // the first and last eighth and every third between
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
};

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
    case Where::MoreBits:
      return layer < n / 8 || layer >= 7 * n / 8 || (layer - n / 8) % 3 == 2;
  }
  return false;
}

bool is_plain(TensorType type) {
  return type == TensorType::F32 || type == TensorType::F16 || type == TensorType::BF16;
}

}  // namespace

TensorType preset_type(const PresetContext& preset, const TensorSpec& spec, const ModelConfig& config) {
  if (is_plain(preset.base) || preset.base == TensorType::Q8_0) return preset.base;
  if (spec.role == Role::Output || (spec.role == Role::Embedding && config.tied_embeddings))
    return spec.shape[1] % format_of(preset.base).block_size != 0 ? TensorType::Q8_0 : TensorType::Q6_K;
  const bool of_three = spec.role == Role::Query || spec.role == Role::Key || spec.role == Role::Value;
  const Role role = preset.fused_qkv && of_three ? Role::Value : spec.role;
  for (const Rule& rule : kRules)
    if (rule.preset == preset.name && rule.role == role && holds(rule.where, preset, spec.layer, config))
      return rule.type;
  return preset.base;
}

}  // namespace attar
