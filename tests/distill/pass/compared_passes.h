// What the tests of passes compare: models whose weights are not alike, what is asked of their outputs, how far off a
// tensor is.
#pragma once

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/zeros_like.h>

#include "compress/causal_lm.h"
#include "compress/reparameterization.h"
#include "compress/token_dataset.h"

namespace attar {

// What the outputs are asked to become: anything that is not the same for all.
inline at::Tensor asked(const at::Tensor& hidden) {
  return at::arange(hidden.numel(), at::kFloat).mul(0.37).sin().view_as(hidden);
}

inline NamedTensors empty_gradients(const CausalLM& model) {
  NamedTensors gradients;
  for (const auto& [name, tensor] : model.parameters) gradients[name] = at::zeros_like(tensor);
  return gradients;
}

// The largest difference, over the largest number of what is right.
inline double off(const at::Tensor& a, const at::Tensor& b) {
  const at::Tensor exact = b.detach().to(at::kDouble);
  const double scale = exact.abs().max().item<double>();
  return (a.to(at::kDouble) - exact).abs().max().item<double>() / (scale > 0.0 ? scale : 1.0);
}

// Weights that are not alike, so that a gradient at the wrong place shows; norms and biases that do something.
inline CausalLM uneven(const ModelConfig& config) {
  CausalLM model = CausalLM::random(config, 4);
  for (auto& [name, tensor] : model.parameters)
    if (tensor.dim() == 1) tensor = tensor + at::arange(tensor.numel(), at::kFloat).mul(0.61).sin().mul(0.2);
  return model;
}

inline std::vector<Piece> whole_pieces(const TokenDataset& data, int64_t documents) {
  std::vector<Piece> pieces;
  for (int64_t d = 0; d < documents; ++d)
    pieces.push_back({d, 0, static_cast<int64_t>(data.documents[static_cast<size_t>(d)].tokens.size())});
  return pieces;
}

inline TokenBatch some_tokens(const TokenDataset& data, int64_t documents) {
  return to_batch(data, whole_pieces(data, documents));
}

}  // namespace attar
