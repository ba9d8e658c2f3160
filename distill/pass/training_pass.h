// A model forward and backward over packed documents, with gradients by hand: what compress/causal_lm.h computes with
// autograd (the reference of the tests), in memory that is taken once and products that a team's threads share.
#pragma once

#include <ATen/core/Tensor.h>

#include <array>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "compress/causal_lm.h"
#include "compress/precision.h"
#include "compress/reparameterization.h"
#include "compress/shards.h"
#include "distill/pass/attention_pass.h"

namespace attar {

// The weights of a model as a pass reads them: matrices in the kind of the products, norms as they multiply. In f32
// they share the model's memory. A model may have its layers alone: they are what is read of it then.
class PassWeights {
 public:
  PassWeights(const CausalLM& model, Precision precision, Team& team);
  void refresh(Team& team);  // after the model has changed

  const CausalLM& model() const { return model_; }
  const at::Tensor& of(const std::string& name) const { return tensors_.at(name); }
  const at::Tensor& of(int64_t layer, Role role) const { return of(tensor_name(layer, role)); }
  const at::Tensor& head() const;  // (V, C)
  at::ScalarType kind() const { return kind_; }

 private:
  const CausalLM& model_;
  at::ScalarType kind_;
  NamedTensors tensors_;
};

// What a layer shows of a forward pass to those who compare models inside, or a gradient by it.
struct LayerTap {
  at::Tensor hidden;  // (N, C) f32: the residual stream behind the layer
  HeadTap heads;
};
using LayerTaps = std::map<int64_t, LayerTap>;  // by layer

// The layers that show each.
struct TapPlan {
  std::set<int64_t> hidden, heads;
};

// What a pass leaves for a backward pass: none may follow; the stream before each layer, whose inside is computed once
// more on the way back (gradient checkpointing, Chen et al. 2016, arXiv 1604.06174); or all of it.
enum class Keeps { Nothing, Streams, All };

class TrainingPass {
 public:
  TrainingPass(const PassWeights& weights, Team& team, Keeps keeps, TapPlan plan = {});

  // -> (N, C) f32, behind the final norm
  at::Tensor forward(const TokenBatch& batch);
  // The layers alone: from a stream (N, C) f32 in front of them to that behind them, which is there until a pass
  // follows.
  at::Tensor forward_layers(const TokenBatch& batch, const at::Tensor& stream);
  // Of the last forward, as the plan asks; until a pass follows.
  const LayerTaps& taps() const { return taps_; }
  // Of the last forward: adds to every tensor of `gradients` (f32, of the model's parameters by name, in their shapes)
  // what by_hidden (N, C) and by_taps make of it. Tensors that are not there get none.
  void backward(const at::Tensor& by_hidden, NamedTensors& gradients, const LayerTaps& by_taps = {});
  // Of the last forward_layers, from the gradient by what it gave.
  void backward_layers(const at::Tensor& by_stream, NamedTensors& gradients);

 private:
  struct Layer {
    at::Tensor before_attention, before_ffn;  // (N', C) f32: the residual stream
    at::Tensor from_attention, from_ffn;      // (N', C): what the halves give, where sandwich norms look at it
    at::Tensor gate, up;                      // (N', F)
    AttentionTape attention;
    // The same memory in every layer:
    at::Tensor gated, by_gated, by_mixed;  // (N', F), (N', F), (N', H * D)
    AttentionTape by_attention;
  };
  // Tensors one after another, from memory that stays; `restart` begins again.
  class Memory {
   public:
    void restart() { next_ = 0; }
    at::Tensor take(int64_t rows, int64_t columns, at::ScalarType kind);

   private:
    std::vector<at::Tensor> flats_;
    size_t next_ = 0;
  };

  void reserve(const TokenBatch& batch);
  void embed();
  const at::Tensor& behind(int64_t layer) const;
  void go_through();
  void forward_layer(int64_t layer);
  void keep_taps(int64_t layer);
  HeadNorms head_norms(int64_t layer) const;
  void normalize(const at::Tensor& stream, const at::Tensor& weight);
  void add_output(const at::Tensor& stream, int64_t layer, Role sandwich, const at::Tensor& output,
                  const at::Tensor& next);
  void add_biases(int64_t layer);
  void go_back(NamedTensors& gradients, const LayerTaps& by_taps);
  void backward_ffn(int64_t layer, NamedTensors& gradients);
  void backward_attention(int64_t layer, const HeadTap& by_tap, NamedTensors& gradients);
  void through_output(int64_t layer, Role sandwich, const at::Tensor& output, NamedTensors& gradients);
  void through_norm(int64_t layer, Role norm, const at::Tensor& stream, size_t n_products, NamedTensors& gradients);
  void backward_biases(int64_t layer, NamedTensors& gradients);
  void backward_embedding(NamedTensors& gradients);

  const PassWeights& weights_;
  const ModelConfig& config_;
  const FamilyTraits& family_;
  Team& team_;
  Keeps keeps_;
  TapPlan plan_;
  LayerTaps taps_;
  TokenBatch batch_{};
  int64_t tokens_ = 0, rows_ = 0;   // N, and N' >= N: rows behind the batch are 0
  Memory kept_, inside_, scratch_;  // of all layers; what is kept of one where its inside is computed again; of any
  std::vector<Layer> layers_;
  std::optional<AttentionPass> attention_;
  at::Tensor last_stream_, by_stream_;      // (N', C) f32: behind all layers, and the gradient by the stream
  at::Tensor normed_, output_, by_output_;  // (N', C): inputs and outputs of products
  std::array<at::Tensor, 3> by_normed_;     // (N', C): of up to three products with one input
};

}  // namespace attar
