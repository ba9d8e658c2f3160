#include "tests/formats/tiny_files.h"

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "runtime/base/random.h"
#include "runtime/formats/container/safetensors.h"
#include "runtime/formats/hf_directory.h"
#include "runtime/formats/tensor_specs.h"
#include "runtime/formats/tokenizer/files/gguf_tokenizer.h"

namespace attar {

ModelConfig tiny(Family family) {
  ModelConfig config;
  config.family = family;
  config.vocab_size = 24;
  config.width = 16;
  config.context_length = 64;
  config.layers.assign(family == Family::Gemma3 ? 7 : 3, {LayerKind::FullAttention, 4, 2, 8, 20});
  config.norm_epsilon = 1e-5;
  config.rope_theta = 5000.0;
  if (family != Family::Gemma3) return config;
  config.sliding_window = 16;
  for (size_t i = 0; i < config.layers.size(); ++i)
    if (i != 5) config.layers[i].kind = LayerKind::SlidingAttention;
  return config;
}

ModelConfig tiny_uneven(Family family) {
  ModelConfig config = tiny(family);
  config.layers[1].n_heads = 2;
  config.layers[1].n_kv_heads = 1;
  config.layers[1].ffn_width = 12;
  config.layers[2].ffn_width = 28;
  return config;
}

TokenizerData tiny_tokenizer(int64_t size) {
  TokenizerData data;
  for (int64_t i = 0; i < size; ++i) data.tokens.push_back({.text = "t" + std::to_string(i)});
  data.tokens[0].kind = data.tokens[1].kind = TokenKind::Control;
  data.bos = 0;
  data.eos = 1;
  return data;
}

Weights random_weights(const ModelConfig& config, uint64_t seed) {
  Weights weights;
  uint64_t stream = 0;
  for (const TensorSpec& spec : tensor_specs(config)) {
    const CounterRandom random(seed, ++stream);
    std::vector<float>& values = weights[spec.name];
    for (int64_t i = 0; i < spec.elements(); ++i)
      values.push_back(static_cast<float>(random.uniform(static_cast<uint64_t>(i)) - 0.5));
  }
  return weights;
}

void write_hf_directory(const std::string& directory, const ModelConfig& config, const Weights& weights) {
  std::filesystem::create_directories(directory);
  std::vector<SafeTensor> tensors;
  for (const TensorSpec& spec : tensor_specs(config))
    tensors.push_back({spec.hf_name, TensorType::F32, spec.shape, std::as_bytes(std::span(weights.at(spec.name)))});
  write_safetensors(directory + "/model.safetensors", tensors);
  const TokenizerData tokenizer = tiny_tokenizer(config.vocab_size);
  write_hf_tokenizer(directory, tokenizer);
  std::ofstream(directory + "/config.json") << checkpoint_config_json(config, tokenizer);
}

GgufValue& GgufParts::value(const std::string& key) {
  return std::find_if(entries.begin(), entries.end(), [&](const GgufEntry& e) { return e.key == key; })->value;
}

void GgufParts::erase(const std::string& key) {
  std::erase_if(entries, [&](const GgufEntry& e) { return e.key == key; });
}

GgufParts::Tensor& GgufParts::tensor(const std::string& name) {
  return *std::find_if(tensors.begin(), tensors.end(), [&](const Tensor& t) { return t.name == name; });
}

void GgufParts::write(const std::string& path) const {
  std::vector<GgufTensor> views;
  for (const Tensor& t : tensors)
    views.push_back({t.name, TensorType::F32, t.shape, std::as_bytes(std::span(t.values))});
  write_gguf(path, entries, views);
}

GgufParts llama_gguf(const ModelConfig& config, const Weights& weights) {
  const LayerConfig& layer = config.layers[0];
  const auto u32 = [](int64_t value) { return GgufValue::u32(static_cast<uint32_t>(value)); };
  GgufParts parts;
  parts.entries = {{"general.architecture", GgufValue::string("llama")},
                   {"llama.block_count", u32(config.n_layers())},
                   {"llama.context_length", u32(config.context_length)},
                   {"llama.embedding_length", u32(config.width)},
                   {"llama.feed_forward_length", u32(layer.ffn_width)},
                   {"llama.attention.head_count", u32(layer.n_heads)},
                   {"llama.attention.head_count_kv", u32(layer.n_kv_heads)},
                   {"llama.attention.key_length", u32(layer.head_dim)},
                   {"llama.attention.value_length", u32(layer.head_dim)},
                   {"llama.attention.layer_norm_rms_epsilon", GgufValue::f32(static_cast<float>(config.norm_epsilon))},
                   {"llama.rope.freq_base", GgufValue::f32(static_cast<float>(config.rope_theta))}};
  for (GgufEntry& entry : gguf_tokenizer_entries(tiny_tokenizer(config.vocab_size)))
    parts.entries.push_back(std::move(entry));
  for (const TensorSpec& spec : tensor_specs(config)) {
    std::vector<float> values = weights.at(spec.name);
    if (spec.role == Role::Query || spec.role == Role::Key) {
      // The plain formula: GGUF row h*D + 2j + half holds Hugging Face row h*D + half*D/2 + j.
      const std::vector<float> original = values;
      const int64_t d = layer.head_dim, columns = spec.shape[1];
      for (int64_t row = 0; row < spec.shape[0]; ++row) {
        const int64_t within = row % d, source = row - within + within % 2 * (d / 2) + within / 2;
        std::copy_n(original.begin() + source * columns, columns, values.begin() + row * columns);
      }
    }
    parts.tensors.push_back({spec.name, spec.shape, values});
  }
  return parts;
}

}  // namespace attar
