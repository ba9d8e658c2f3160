// What is trained in place of a tensor (DESIGN.md, decision 10): parameters of its own, from which the weights that the
// model computes with are made anew each step, and to which the weights' gradient is pulled back. Packed grids, LoRA,
// masks of zeros and frozen parts are this. A tensor without one is trained itself. One under a name that no tensor has
// holds what is trained beside the model and never part of it.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <map>
#include <string>

#include "compress/causal_lm.h"

namespace attar {

using NamedTensors = std::map<std::string, at::Tensor>;

struct Reparameterization {
  NamedTensors parameters{};                             // f32, such as "latent"; none: the tensor is frozen
  std::map<std::string, double> learning_rate_ratios{};  // of a parameter's rate to the training's; 1 where absent
  // Writes the weights that `parameters` stand for. Not set: they stay what they are.
  std::function<void(const NamedTensors& parameters, at::Tensor& weights, int threads)> effective{};
  // The gradient by each parameter, in its shape, from that by the weights, whose memory may be taken. Not set: there
  // are no parameters, or their gradients are made by name.
  std::function<NamedTensors(const NamedTensors& parameters, const at::Tensor& gradient, int threads)> pull_back{};

  bool frozen() const { return parameters.empty(); }
};
using Reparameterizations = std::map<std::string, Reparameterization>;  // by TensorSpec::name

// Every tensor that a training moves, by name: the model's own, and in place of one that is reparameterized its
// parameters, "blk.0.attn_q.weight.latent". They share memory with what they are of.
NamedTensors trained_tensors(const CausalLM& model, const Reparameterizations& reparameterizations);

// Those that differ from 1, by the names of trained_tensors.
std::map<std::string, double> learning_rate_ratios(const Reparameterizations& reparameterizations);

// Writes the weights that the parameters stand for into the model. No bit depends on `threads`.
void make_effective(const Reparameterizations& reparameterizations, CausalLM& model, int threads);

// From gradients by weights to gradients by what is trained, in place.
void pull_back(const Reparameterizations& reparameterizations, NamedTensors& gradients, int threads);

}  // namespace attar
