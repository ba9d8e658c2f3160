// Muon (Jordan 2024, https://kellerjordan.github.io/posts/muon): the momentum of a matrix, made nearly orthogonal by a
// Newton-Schulz iteration, is its step. With the scale of Liu et al. 2025 (arXiv 2502.16982, section 2.2) steps are as
// large as AdamW's, so that its learning rate and weight decay carry over. Of queries, keys and values each head steps
// by itself: one that learns from large gradients takes nothing from the others.
#pragma once

#include <ATen/core/Tensor.h>

#include "compress/precision.h"
#include "compress/reparameterization.h"
#include "runtime/formats/config.h"

namespace attar {

struct MuonSettings {
  double learning_rate, momentum, weight_decay;
  Precision precision = Precision::Fp32;                 // of the products; Jordan's are in bf16
  std::map<std::string, double> learning_rate_ratios{};  // by parameter name, where it is not 1
  std::map<std::string, int64_t> head_rows{};            // rows that step by themselves, where it is not all
};

// The matrices among `trained`, or parameters in their place, that are neither embedding nor head.
NamedTensors muon_matrices(const ModelConfig& config, const NamedTensors& trained);

// Rows of a head, for those of these matrices that have the shape of queries, keys or values.
std::map<std::string, int64_t> muon_head_rows(const ModelConfig& config, const NamedTensors& matrices);

// One step over all of them, each on one thread. `momenta` by parameter name, like them. `gradient_scale` multiplies
// the gradients first (clipping).
void muon_step(NamedTensors& matrices, const NamedTensors& gradients, NamedTensors& momenta,
               const MuonSettings& settings, double gradient_scale, int threads);

// x (M, N) with its singular values moved to about 1 (0.7 to 1.2), in place of UV^T of its singular value
// decomposition; x of zeros stays. -> (M, N)
at::Tensor nearly_orthogonal(const at::Tensor& x, Precision precision);

// Of one step over the matrices of the layers.
double muon_flops(const ModelConfig& config);

}  // namespace attar
