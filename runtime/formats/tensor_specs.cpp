#include "runtime/formats/tensor_specs.h"

#include <functional>
#include <numeric>

namespace attar {
namespace {

struct RoleName {
  Role role;
  const char* name;
};
constexpr RoleName kRoleNames[] = {
    {Role::Embedding, "embedding"},
    {Role::OutputNorm, "output_norm"},
    {Role::Output, "output"},
    {Role::AttentionNorm, "attention_norm"},
    {Role::Query, "query"},
    {Role::Key, "key"},
    {Role::Value, "value"},
    {Role::QueryBias, "query_bias"},
    {Role::KeyBias, "key_bias"},
    {Role::ValueBias, "value_bias"},
    {Role::QueryNorm, "query_norm"},
    {Role::KeyNorm, "key_norm"},
    {Role::AttentionOutput, "attention_output"},
    {Role::PostAttentionNorm, "post_attention_norm"},
    {Role::FfnNorm, "ffn_norm"},
    {Role::Gate, "gate"},
    {Role::Up, "up"},
    {Role::Down, "down"},
    {Role::PostFfnNorm, "post_ffn_norm"},
};

// The tensors of one layer, in file order.
struct LayerTensor {
  Role role;
  const char* name;     // after "blk.N."
  const char* hf_name;  // after "model.layers.N."
};
constexpr LayerTensor kLayerTensors[] = {
    {Role::AttentionNorm, "attn_norm.weight", "input_layernorm.weight"},
    {Role::Query, "attn_q.weight", "self_attn.q_proj.weight"},
    {Role::QueryBias, "attn_q.bias", "self_attn.q_proj.bias"},
    {Role::QueryNorm, "attn_q_norm.weight", "self_attn.q_norm.weight"},
    {Role::Key, "attn_k.weight", "self_attn.k_proj.weight"},
    {Role::KeyBias, "attn_k.bias", "self_attn.k_proj.bias"},
    {Role::KeyNorm, "attn_k_norm.weight", "self_attn.k_norm.weight"},
    {Role::Value, "attn_v.weight", "self_attn.v_proj.weight"},
    {Role::ValueBias, "attn_v.bias", "self_attn.v_proj.bias"},
    {Role::AttentionOutput, "attn_output.weight", "self_attn.o_proj.weight"},
    {Role::PostAttentionNorm, "post_attention_norm.weight", "post_attention_layernorm.weight"},
    {Role::FfnNorm, "ffn_norm.weight", "post_attention_layernorm.weight"},  // gemma3: pre_feedforward_layernorm
    {Role::Gate, "ffn_gate.weight", "mlp.gate_proj.weight"},
    {Role::Up, "ffn_up.weight", "mlp.up_proj.weight"},
    {Role::Down, "ffn_down.weight", "mlp.down_proj.weight"},
    {Role::PostFfnNorm, "post_ffw_norm.weight", "post_feedforward_layernorm.weight"},
};

bool has_role(const FamilyTraits& family, Role role) {
  switch (role) {
    case Role::QueryBias:
    case Role::KeyBias:
    case Role::ValueBias:
      return family.qkv_bias;
    case Role::QueryNorm:
    case Role::KeyNorm:
      return family.qk_norm;
    case Role::PostAttentionNorm:
    case Role::PostFfnNorm:
      return family.sandwich_norms;
    default:
      return true;
  }
}

std::vector<int64_t> layer_shape(Role role, const LayerConfig& layer, int64_t width) {
  const int64_t q = layer.n_heads * layer.head_dim, kv = layer.n_kv_heads * layer.head_dim;
  switch (role) {
    case Role::Query:
      return {q, width};
    case Role::Key:
    case Role::Value:
      return {kv, width};
    case Role::AttentionOutput:
      return {width, q};
    case Role::Gate:
    case Role::Up:
      return {layer.ffn_width, width};
    case Role::Down:
      return {width, layer.ffn_width};
    case Role::QueryBias:
      return {q};
    case Role::KeyBias:
    case Role::ValueBias:
      return {kv};
    case Role::QueryNorm:
    case Role::KeyNorm:
      return {layer.head_dim};
    default:
      return {width};
  }
}

}  // namespace

int64_t TensorSpec::elements() const {
  return std::accumulate(shape.begin(), shape.end(), int64_t{1}, std::multiplies<>());
}

const char* role_name(Role role) {
  return kRoleNames[static_cast<size_t>(role)].name;
}

const Role* find_role(const std::string& name) {
  for (const RoleName& row : kRoleNames)
    if (name == row.name) return &row.role;
  return nullptr;
}

bool is_norm(Role role) {
  switch (role) {
    case Role::OutputNorm:
    case Role::AttentionNorm:
    case Role::QueryNorm:
    case Role::KeyNorm:
    case Role::PostAttentionNorm:
    case Role::FfnNorm:
    case Role::PostFfnNorm:
      return true;
    default:
      return false;
  }
}

std::string tensor_name(int64_t layer, Role role) {
  if (role == Role::Embedding) return "token_embd.weight";
  if (role == Role::OutputNorm) return "output_norm.weight";
  if (role == Role::Output) return "output.weight";
  for (const LayerTensor& tensor : kLayerTensors)
    if (tensor.role == role) return "blk." + std::to_string(layer) + "." + tensor.name;
  return {};
}

std::vector<TensorSpec> tensor_specs(const ModelConfig& config) {
  const FamilyTraits& family = traits(config.family);
  std::vector<TensorSpec> specs;
  specs.push_back(
      {"token_embd.weight", "model.embed_tokens.weight", {config.vocab_size, config.width}, Role::Embedding, -1});
  for (int64_t i = 0; i < config.n_layers(); ++i) {
    const std::string block = "blk." + std::to_string(i) + ".", hf_block = "model.layers." + std::to_string(i) + ".";
    for (const LayerTensor& tensor : kLayerTensors) {
      if (!has_role(family, tensor.role)) continue;
      const bool gemma_ffn_norm = tensor.role == Role::FfnNorm && family.sandwich_norms;
      specs.push_back({block + tensor.name,
                       hf_block + (gemma_ffn_norm ? "pre_feedforward_layernorm.weight" : tensor.hf_name),
                       layer_shape(tensor.role, config.layers[static_cast<size_t>(i)], config.width), tensor.role, i});
    }
  }
  specs.push_back({"output_norm.weight", "model.norm.weight", {config.width}, Role::OutputNorm, -1});
  if (!config.tied_embeddings)
    specs.push_back({"output.weight", "lm_head.weight", {config.vocab_size, config.width}, Role::Output, -1});
  return specs;
}

}  // namespace attar
