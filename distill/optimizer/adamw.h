// AdamW (Loshchilov and Hutter 2019, arXiv 1711.05101): decoupled weight decay, bias-corrected moments in f32.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <string>

namespace attar {

struct AdamWSettings {
  double learning_rate, beta1, beta2, epsilon, weight_decay;
  std::map<std::string, double> learning_rate_ratios{};  // by parameter name, where it is not 1
};

struct AdamWState {
  std::map<std::string, at::Tensor> first, second;  // by parameter name, like the parameters
  int64_t steps = 0;
};

// One step over all parameters. `gradient_scale` multiplies the gradients first (clipping). Decay acts on matrices
// alone.
void adamw_step(std::map<std::string, at::Tensor>& parameters, const std::map<std::string, at::Tensor>& gradients,
                AdamWState& state, const AdamWSettings& settings, double gradient_scale, int threads);

// The 2-norm of all gradients together, in double, in a fixed order.
double global_norm(const std::map<std::string, at::Tensor>& gradients, int threads);

}  // namespace attar
