// A model forward and backward by LibTorch's operations and autograd, on a device of LibTorch's such as a GPU: what
// TrainingPass does by hand on the processor, by the code of compress/causal_lm.h, a layer after the other. The model
// stays in host memory; a copy of its weights is here, and every tensor that goes in or out lies here too, but for the
// batch and what layers show.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "compress/causal_lm.h"
#include "compress/precision.h"
#include "compress/reparameterization.h"
#include "distill/pass/training_pass.h"

namespace attar {

class DevicePass {
 public:
  // The model outlives it.
  DevicePass(const CausalLM& model, Precision precision, c10::Device device, Keeps keeps, TapPlan plan = {});
  void refresh();  // after the model has changed

  at::Tensor head() const;  // (V, C) f32
  // -> (N, C) f32, behind the final norm
  at::Tensor forward(const TokenBatch& batch);
  // Of the last forward, as the plan asks; f32 in host memory, until a pass follows.
  const LayerTaps& taps() const { return taps_; }
  // Of the last forward, once: adds to every tensor of `gradients` that is named like a parameter (f32, in its shape,
  // on the device) what by_hidden (N, C) and by_taps make of it. Parameters that are not there get none.
  void backward(const at::Tensor& by_hidden, NamedTensors& gradients, const LayerTaps& by_taps = {});

 private:
  enum class Graph { None, Recorded };
  // A part of the model, such as a layer: what it was given, which ends its graph, and what it made of it.
  struct Part {
    at::Tensor given, out;  // (N, C) f32
    HeadTap heads{};        // of a layer
  };
  struct Asked {
    at::Tensor output, by_output;  // of one size
  };

  Part through(int64_t layer, const at::Tensor& stream, Graph graph);
  at::Tensor attend(int64_t layer, const at::Tensor& query, const at::Tensor& key, const at::Tensor& value);
  const at::Tensor& unseen(int64_t length, int64_t window);
  void keep_taps(int64_t layer, const Part& part);
  at::Tensor go_back(const std::vector<Asked>& asked, const at::Tensor& given, const std::vector<std::string>& names,
                     NamedTensors& gradients) const;

  const CausalLM& model_;
  CausalLM there_;                                     // the model on the device, f32; its tensors end the graphs
  std::vector<std::vector<std::string>> layer_names_;  // of each layer's tensors
  Precision precision_;
  c10::Device device_;
  Keeps keeps_;
  TapPlan plan_;
  LayerTaps taps_;
  TokenBatch batch_{};
  at::Tensor embedded_;                                       // (N, C)
  std::vector<Part> layers_;                                  // with Keeps::Streams what they were given alone
  Part norm_;                                                 // the final norm
  std::map<std::pair<int64_t, int64_t>, at::Tensor> unseen_;  // (T, T) bool by T and window, of this batch
};

}  // namespace attar
