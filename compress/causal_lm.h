// The model under compression, in LibTorch: a config, named tensors, and pure functions over them. Trainable: `at::`
// operations record gradients when a parameter requires them. Layout is Hugging Face's (out, in), RoPE halves.
//
// No torch::nn module: parameters are a sorted map, so passes slice, replace and count them as data.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "runtime/formats/config.h"
#include "runtime/formats/model_file.h"
#include "runtime/formats/tensor_specs.h"

namespace attar {

// Token sequences packed into rows. A document never sees another: attention and positions restart at each one.
struct TokenBatch {
  at::Tensor tokens;             // (N) int64, documents one after another
  at::Tensor positions;          // (N) int64, from 0 in each document
  std::vector<int64_t> lengths;  // of each document; sums to N
};

struct CausalLM {
  ModelConfig config;
  std::map<std::string, at::Tensor> parameters;  // by TensorSpec::name, f32, exactly those of tensor_specs(config)
  // Where set: a forward pass leaves there what each linear of a block gives, (N, out), under its weight's name, for
  // those who ask for gradients by it.
  std::map<std::string, at::Tensor>* outputs = nullptr;

  static CausalLM random(const ModelConfig& config, uint64_t seed);  // normal by width (SmallInit) and depth; norms 1
  static CausalLM load(const ModelFile& file);                       // dequantized to f32; Error{Input}: NaN, infinity
  CausalLM clone() const;                                            // deep copy
  void set_requires_grad(bool on);

  const at::Tensor& parameter(const std::string& name) const;
  const at::Tensor& block_parameter(int64_t layer, Role role) const;
  const at::Tensor& head() const;  // (V, C): the embedding when tied
};

// hidden (N, C); functions take and give tensors, so a pass can stop and start anywhere. They compute where the model's
// tensors lie, the batch's among them.
at::Tensor embed(const CausalLM& model, const TokenBatch& batch);  // -> (N, C)
at::Tensor forward_block(const CausalLM& model, int64_t layer, const at::Tensor& hidden, const TokenBatch& batch);
at::Tensor final_norm(const CausalLM& model, const at::Tensor& hidden);     // -> (N, C)
at::Tensor forward_hidden(const CausalLM& model, const TokenBatch& batch);  // embed, all blocks, final norm -> (N, C)
at::Tensor logits(const CausalLM& model, const TokenBatch& batch);          // -> (N, V); for tests and small batches

// Linears that are given the same input, in the order in which a token meets them: four groups a block, then the head.
// One-shot methods stop before each: they see what it is given, change the model, and go on.
enum class LinearGroup { QueryKeyValue, AttentionOutput, GateUp, Down, Head };
inline constexpr int kGroups = 5;
std::vector<Role> group_roles(const ModelConfig& config, LinearGroup group);  // a tied head's is the embedding

// What attention compares in a layer, normed where the family does and turned by RoPE: queries (N, H, D), keys (N, K,
// D). x (N, C): group_input of QueryKeyValue.
struct QueriesKeys {
  at::Tensor queries, keys;
};
QueriesKeys queries_keys(const CausalLM& model, int64_t layer, const TokenBatch& batch, const at::Tensor& x);
// The values that attention mixes by them, (N, K, D), of the same x.
at::Tensor head_values(const CausalLM& model, int64_t layer, const at::Tensor& x);

// What a group's linears are given: (N, C), (N, H * D), (N, C), (N, F), (N, C). `hidden` (N, C) is the residual stream
// before the group's half of the block (attention, feed-forward), or behind all blocks. Pure: ask again after a change.
at::Tensor group_input(const CausalLM& model, int64_t layer, LinearGroup group, const TokenBatch& batch,
                       const at::Tensor& hidden);
// The two groups that end a half, AttentionOutput and Down: what their linear gives, -> (N, C), and the residual stream
// with that added, through the sandwich norm where the family has one. -> (N, C)
at::Tensor group_output(const CausalLM& model, int64_t layer, LinearGroup group, const at::Tensor& input);
at::Tensor add_output(const CausalLM& model, int64_t layer, LinearGroup group, const at::Tensor& hidden,
                      const at::Tensor& output);

}  // namespace attar
