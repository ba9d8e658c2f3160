// The shape of SmolLM2-135M: its 576 columns are no whole number of super-blocks.
#pragma once

#include "runtime/formats/config.h"

namespace attar {

inline ModelConfig smollm2() {
  ModelConfig config;
  config.vocab_size = 49152, config.width = 576, config.context_length = 8192;
  config.layers.assign(30, {LayerKind::FullAttention, 9, 3, 64, 1536});
  return config;
}

}  // namespace attar
