// A model and a data set small enough to train in a test.
#pragma once

#include <ATen/ops/equal.h>

#include "compress/causal_lm.h"
#include "compress/token_dataset.h"
#include "distill/train.h"
#include "runtime/base/random.h"

namespace attar {

inline ModelConfig tiny_config(Family family) {
  ModelConfig config;
  config.family = family;
  config.vocab_size = 300;
  config.width = 24;
  config.context_length = 64;
  config.sliding_window = family == Family::Gemma3 ? 8 : 0;
  for (int i = 0; i < 2; ++i)
    config.layers.push_back(
        {family == Family::Gemma3 && i == 0 ? LayerKind::SlidingAttention : LayerKind::FullAttention, 4, 2, 6, 40});
  return config;
}

inline TokenizerData byte_tokenizer() {
  TokenizerData data;
  for (int i = 0; i < 300; ++i) data.tokens.push_back({"t" + std::to_string(i), 0.0f, TokenKind::Normal});
  return data;
}

// Documents of odd lengths whose next token is a function of the one before.
inline TokenDataset countable(int documents) {
  TokenDataset data;
  data.tokenizer_hash = "none";
  const CounterRandom random(5);
  for (int d = 0; d < documents; ++d) {
    TokenDocument document;
    const auto length = static_cast<int>(5 + random.below(static_cast<uint64_t>(d), 23));
    for (int i = 0; i < length; ++i) document.tokens.push_back((d * 7 + i * 3) % 300);
    document.in_loss.assign(document.tokens.size(), 1);
    document.in_loss[0] = 0;
    data.documents.push_back(std::move(document));
  }
  return data;
}

inline DistillOptions quick(int64_t tokens) {
  DistillOptions options;
  options.tokens = tokens;
  options.losses = {{"cross_entropy", 1.0}};
  options.learning_rate = 1e-2;
  options.batch_tokens = 96;
  options.sequence_tokens = 32;
  options.checkpoint_every_steps = 2;
  return options;
}

inline bool same(const CausalLM& a, const CausalLM& b) {
  for (const auto& [name, tensor] : a.parameters)
    if (!at::equal(tensor, b.parameters.at(name))) return false;
  return true;
}

}  // namespace attar
