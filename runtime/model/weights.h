// What a loaded model holds: packed matrices, norms, biases, and the tables that its layers share.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
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
  std::vector<float> query_scales, key_scales;            // (K*D), behind RoPE, each 1 over the other; or empty
  size_t rope = 0;                                        // index into Model::Weights::ropes
  int64_t window = 0;                                     // keys seen, the query's own included; 0: all
};

struct Model::Weights {
  Weights(const ModelFile& file, const LoadOptions& options)
      : config(file.config()),
        source(file.source()),
        file_bytes(file.size_bytes()),
        numerics(options.numerics),
        kv(options.kv.value_or(file.config().kv)),
        kernels(&kernels_for(options.isa)) {}

  // Row `token` of the embedding, as the file has it. -> (C)
  void embed(int32_t token, float* values) const {
    unpack_row(config.tied_embeddings ? head : embedding, token, values);
  }

  const uint64_t id = next_id();  // of this model alone: what was made for it carries it
  ModelConfig config;
  std::string source;
  uint64_t file_bytes;
  std::unique_ptr<const Tokenizer> tokenizer;
  Numerics numerics;
  KvFormat kv;
  const Kernels* kernels;
  AlignedBuffer memory;  // of all matrices, in the order of tensor_specs
  std::vector<LayerWeights> layers;
  Matrix embedding;  // (V, C); empty when the head is it
  float embedding_scale = 1.0f;
  std::vector<float> output_norm;         // (C)
  Matrix head;                            // (V, C)
  std::vector<std::vector<float>> ropes;  // distinct angular frequencies, each (D/2)
  std::vector<std::string> notes;         // fallbacks taken
  uint64_t packed_bytes = 0;
  mutable std::mutex identifying{};
  mutable std::string identity{};  // identity_of(), once somebody asked

 private:
  static uint64_t next_id() {
    static std::atomic<uint64_t> last{0};
    return ++last;
  }
};

}  // namespace attar::runtime
