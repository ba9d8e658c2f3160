// A model whose layers differ, and text in its 120 tokens.
#pragma once

#include "compress/token_dataset.h"
#include "runtime/formats/config.h"

namespace attar {

inline ModelConfig uneven_config(Family family, bool tied, int64_t last_ffn = 64) {
  ModelConfig config;
  config.family = family;
  config.vocab_size = 120;
  config.width = 30;
  config.context_length = 64;
  config.tied_embeddings = tied;
  config.layers = {{LayerKind::FullAttention, 6, 3, 4, 50},
                   {LayerKind::FullAttention, 4, 2, 6, 37},
                   {LayerKind::FullAttention, 3, 3, 8, last_ffn}};
  return config;
}

// Documents of `tokens`, `tokens` + 1, ... tokens.
inline TokenDataset uneven_text(int documents, int tokens) {
  TokenDataset data;
  for (int d = 0; d < documents; ++d) {
    TokenDocument document;
    for (int i = 0; i < tokens + d; ++i) document.tokens.push_back((d * 31 + i * i * 7) % 120);
    document.in_loss.assign(document.tokens.size(), 1);
    data.documents.push_back(std::move(document));
  }
  return data;
}

}  // namespace attar
