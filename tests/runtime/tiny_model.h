// Tiny random models in memory for the runtime's tests, and their forward pass written the plain way: whole sequence,
// one number at a time, in double, straight from the stored tensors. It shares no code with the runtime.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "runtime/formats/model_file.h"

namespace attar::runtime {

struct TinyOptions {
  Family family = Family::Llama;
  Layout layout = Layout::Gguf;
  TensorType matrix_type = TensorType::F32;  // of the layers' matrices; norms and biases stay F32
  TensorType embedding_type = TensorType::F32;
  bool tied = true;
  uint64_t seed = 1;
};

// 32 tokens, 3 layers, the second narrower than the others; in-features that fit the matrix type's block.
ModelConfig tiny_config(const TinyOptions& options);
ModelFile tiny_model(const ModelConfig& config, const TinyOptions& options);

// Random bytes that are a valid row of blocks: scales small, finite.
std::vector<std::byte> random_blocks(TensorType type, int64_t n_values, uint64_t seed);

// Logits of every position. -> (T, V)
std::vector<std::vector<double>> forward_reference(const ModelFile& file, const std::vector<int32_t>& tokens);

}  // namespace attar::runtime
