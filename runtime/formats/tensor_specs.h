// The tensors of a model, declared once from its config. Loaders, exporters, pruners and quantizers iterate this list
// and select by role; nobody searches names.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "runtime/formats/config.h"

namespace attar {

enum class Role {
  Embedding,
  OutputNorm,
  Output,  // Output only when untied
  AttentionNorm,
  Query,
  Key,
  Value,
  QueryBias,
  KeyBias,
  ValueBias,
  QueryNorm,
  KeyNorm,
  AttentionOutput,
  PostAttentionNorm,
  FfnNorm,
  Gate,
  Up,
  Down,
  PostFfnNorm,
};

struct TensorSpec {
  std::string name;            // Attar's name, which is GGUF's: "blk.3.attn_q.weight"
  std::string hf_name;         // "model.layers.3.self_attn.q_proj.weight"
  std::vector<int64_t> shape;  // (out, in), or (n) for norms and biases
  Role role;
  int64_t layer;  // -1 for Embedding, OutputNorm, Output

  int64_t elements() const;
  bool is_matrix() const { return shape.size() == 2; }  // what quantizers and the optimizer's weight decay act on
};

const char* role_name(Role role);  // "embedding", "query", ...: what --keep and reports say
const Role* find_role(const std::string& name);
bool is_norm(Role role);

// "blk.3.attn_q.weight"; layer is ignored for Embedding, OutputNorm, Output.
std::string tensor_name(int64_t layer, Role role);

// In file order: embedding, layers 0 .. L-1, output norm, output.
std::vector<TensorSpec> tensor_specs(const ModelConfig& config);

}  // namespace attar
