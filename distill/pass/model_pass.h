// A model as a training step goes through it: by hand on the processor, or by LibTorch on another device. Hidden
// states, the head and gradients lie on that device; batches and what layers show lie in host memory.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>

#include "compress/causal_lm.h"
#include "compress/precision.h"
#include "compress/reparameterization.h"
#include "compress/shards.h"
#include "distill/pass/device.h"
#include "distill/pass/device_pass.h"
#include "distill/pass/training_pass.h"

namespace attar {

// Where passes compute, and in what they multiply.
struct PassPlace {
  Precision precision = Precision::Fp32;
  PassDevice device{};
};

class ModelPass {
 public:
  // The model and the team outlive it.
  ModelPass(const CausalLM& model, const PassPlace& place, Team& team, Keeps keeps, TapPlan plan = {});
  ModelPass(const ModelPass&) = delete;
  ModelPass& operator=(const ModelPass&) = delete;

  void refresh();  // after the model has changed
  const CausalLM& model() const { return model_; }
  at::Tensor head() const;  // (V, C), f32 or in the products' kind

  // As TrainingPass has them; a forward pass has one way back at most.
  at::Tensor forward(const TokenBatch& batch);
  const LayerTaps& taps() const;
  void backward(const at::Tensor& by_hidden, NamedTensors& gradients, const LayerTaps& by_taps = {});

 private:
  struct ByHand {
    PassWeights weights;
    TrainingPass pass;
    ByHand(const CausalLM& model, Precision precision, Team& team, Keeps keeps, TapPlan plan);
  };

  const CausalLM& model_;
  Team& team_;
  std::optional<ByHand> by_hand_;  // one of the two
  std::optional<DevicePass> by_libtorch_;
};

}  // namespace attar
