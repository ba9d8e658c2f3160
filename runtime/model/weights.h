// What a loaded model holds: packed matrices, norms, biases, and the tables that its layers share.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "runtime/formats/tokenizer/tokenizer.h"
#include "runtime/kernels/kernels.h"
#include "runtime/kernels/pack.h"
#include "runtime/model/model.h"

namespace attar::runtime {

struct LayerWeights {
  Matrix query, key, value, output;             // (H*D, C), (K*D, C), (K*D, C), (C, H*D); q and k rows in RoPE halves
  Matrix gate, up, down;                        // (F, C), (F, C), (C, F)
  std::vector<float> attention_norm, ffn_norm;  // (C), as the factor itself
  std::vector<float> post_attention_norm, post_ffn_norm;  // (C), or empty
  std::vector<float> query_norm, key_norm;                // (D), or empty
  std::vector<float> query_bias, key_bias, value_bias;    // (H*D), (K*D), (K*D), or empty
  size_t rope = 0;                                        // index into Model::Weights::ropes
  int64_t window = 0;                                     // keys seen, the query's own included; 0: all
};

struct Model::Weights {
  Weights(ModelFile model_file, const LoadOptions& options)
      : file(std::move(model_file)),
        tokenizer(file.tokenizer(), file.source()),
        numerics(options.numerics),
        kernels(&kernels_for(options.isa)) {}

  ModelFile file;
  Tokenizer tokenizer;
  Numerics numerics;
  const Kernels* kernels;
  std::vector<LayerWeights> layers;
  const StoredTensor* embedding = nullptr;  // (V, C), rows decoded when they are looked up
  float embedding_scale = 1.0f;
  std::vector<float> output_norm;         // (C)
  Matrix head;                            // (V, C)
  std::vector<std::vector<float>> ropes;  // distinct angular frequencies, each (D/2)
  std::vector<std::string> notes;         // fallbacks taken
  uint64_t packed_bytes = 0;
};

}  // namespace attar::runtime
