// Tiny models for tests: configs, random weights, and the files that hold them, written without Attar's exporters.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "runtime/formats/config.h"
#include "runtime/formats/container/gguf.h"
#include "runtime/formats/tokenizer/tokenizer.h"
#include "tests/test_folder.h"

namespace attar {

// 24 tokens, C 16, 3 layers, H 4, K 2, D 8, F 20; gemma3 has 7 layers, the sixth global.
ModelConfig tiny(Family family);
// Layers of different heads and feed-forward widths.
ModelConfig tiny_uneven(Family family);

TokenizerData tiny_tokenizer(int64_t size);  // byte-level, tokens "t0", "t1", ...; bos 0, eos 1

using Weights = std::map<std::string, std::vector<float>>;  // by TensorSpec::name, in Hugging Face's layout
Weights random_weights(const ModelConfig& config, uint64_t seed);

// config.json, model.safetensors (F32), tokenizer files.
void write_hf_directory(const std::string& directory, const ModelConfig& config, const Weights& weights);

// A GGUF in parts that a test may damage before it is written.
struct GgufParts {
  std::vector<GgufEntry> entries;
  struct Tensor {
    std::string name;
    std::vector<int64_t> shape;
    std::vector<float> values;
  };
  std::vector<Tensor> tensors;

  GgufValue& value(const std::string& key);
  void erase(const std::string& key);
  Tensor& tensor(const std::string& name);
  void write(const std::string& path) const;
};
// Uniform llama: rows of q and k as its GGUF wants them.
GgufParts llama_gguf(const ModelConfig& config, const Weights& weights);

// What the call throws, or "" when it throws no Error.
template <class Call>
std::string error_of(Call&& call);

}  // namespace attar

#include "runtime/base/error.h"

template <class Call>
std::string attar::error_of(Call&& call) {
  try {
    call();
  } catch (const Error& error) {
    return error.what();
  }
  return {};
}
