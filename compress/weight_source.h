// Where a pass reads a model's weights, as often and in such parts as it needs them: a file, of which no more than that
// part is in memory then, or a model that is in memory already.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "compress/causal_lm.h"
#include "runtime/formats/model_file.h"

namespace attar {

// Implicit: what reads weights takes either.
class WeightSource {
 public:
  WeightSource(const ModelFile& file) : from_(file) {}
  WeightSource(const CausalLM& model) : from_(&model) {}  // which outlives this

  const ModelConfig& config() const;

  // f32 in Attar's own layout. The tensor: of a file its own, of a model that model's, without its gradient. Rows from
  // `first` on, as many as `into` (n * in) holds; a vector is one row.
  at::Tensor tensor(const TensorSpec& spec, int threads = 1) const;
  void read_rows(const TensorSpec& spec, int64_t first, std::span<float> into) const;
  at::Tensor rows(const TensorSpec& spec, const std::vector<int64_t>& ids) const;  // -> (ids, in)

  // Error{Input} naming the first value of a file that is no number, in file order. (A model in memory was checked when
  // it was loaded.)
  void require_finite(int threads) const;

  // Of a file its own, of a model in memory SHA-256 over config and values.
  std::string content_hash() const;

 private:
  std::variant<ModelFile, const CausalLM*> from_;
};

// A model that has only some of its tensors in memory: a pass loads a layer before it walks it and forgets it
// afterwards.
void load_layer(CausalLM& model, const WeightSource& weights, int64_t layer, int threads);
void forget_layer(CausalLM& model, int64_t layer);
// Of the roles that a model has once: Embedding, OutputNorm, Output.
TensorSpec spec_of(const ModelConfig& config, Role role);
void load_tensor(CausalLM& model, const WeightSource& weights, Role role, int threads);
Role head_role(const ModelConfig& config);

// Batches over a vocabulary of the tokens that come in them, so that embed() needs the rows of those alone.
struct OwnVocabulary {
  std::vector<int64_t> ids;  // of the model's vocabulary, ascending
  std::vector<TokenBatch> batches;
};
OwnVocabulary own_vocabulary(const std::vector<TokenBatch>& batches);

}  // namespace attar
