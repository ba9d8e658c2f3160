// Causal attention of a training step, document by document: norms of queries and keys where the family has them, RoPE,
// grouped heads. Keys and values are never copied for each query head.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "compress/causal_lm.h"
#include "compress/shards.h"

namespace attar {

// Of one layer. N may be more than the batch's tokens: rows behind them are not looked at, but what attention gives
// there is 0. All of one kind, f32 or bf16.
struct AttentionTape {
  at::Tensor query, key, value;   // (N, H * D), (N, K * D), (N, K * D): products; attention turns query and key
  at::Tensor raw_query, raw_key;  // the products, where queries and keys have norms: query and key are made from them
  at::Tensor mixed;               // (N, H * D) what the heads give
  at::Tensor log_sums;            // (N, H) f32: what the way back wants of the softmax
};

// Queries, keys and values of a layer as attention compares them, (N, H * D), (N, K * D), (N, K * D), or a gradient by
// them (f32); undefined where nobody asks.
struct HeadTap {
  at::Tensor query, key, value;
};

// What queries and keys are multiplied by behind their norms, (D) f32; undefined without norms.
struct HeadNorms {
  at::Tensor query, key;
};

class AttentionPass {
 public:
  // For documents of at most `longest` tokens.
  AttentionPass(const ModelConfig& config, int64_t longest);

  // From the products to `mixed`.
  void forward(Team& team, const TokenBatch& batch, int64_t layer, const HeadNorms& norms, AttentionTape& tape) const;
  // From the gradients by `mixed` and by the tap to that by the products, in `by` (query, key, value), and to those by
  // the norms, which are added into `by_norms` where they are defined.
  void backward(Team& team, const TokenBatch& batch, int64_t layer, const HeadNorms& norms, const AttentionTape& tape,
                const at::Tensor& by_mixed, const HeadTap& by_tap, AttentionTape& by, HeadNorms& by_norms) const;

 private:
  struct Item;  // one document and one key head: what one thread does
  std::vector<Item> items_of(const TokenBatch& batch, int64_t layer) const;
  // Cosines and sines of a position, (2, D / 2).
  const float* angle(int64_t layer, int64_t position) const {
    const at::Tensor& table = angles_[static_cast<size_t>(layer)];
    return table.const_data_ptr<float>() + position * 2 * table.size(2);
  }

  const ModelConfig& config_;
  std::vector<at::Tensor> angles_;  // of each layer, (longest, 2, D / 2) f32: cosines and sines of each position
};

}  // namespace attar
