// Loss of a model under compression on a data set, in LibTorch: what trainers log. The judge of exported models is
// runtime/verify.
#pragma once

#include "compress/causal_lm.h"
#include "compress/token_dataset.h"

namespace attar {

struct Evaluation {
  int64_t tokens = 0;
  double cross_entropy = 0;  // mean nats per token in the loss
  double perplexity() const;
};

Evaluation evaluate(const CausalLM& model, const TokenDataset& dataset, int64_t max_tokens, int threads,
                    const Progress& progress = {});

}  // namespace attar
