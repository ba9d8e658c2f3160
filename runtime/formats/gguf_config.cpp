#include "runtime/formats/gguf_config.h"

#include <cmath>

#include "runtime/base/error.h"

namespace attar {
namespace {

// Reads `<architecture>.<key>` of one file.
class ArchitectureKeys {
 public:
  ArchitectureKeys(const GgufFile& file, std::string architecture) : file_(file), prefix_(std::move(architecture) + ".") {}

  int64_t integer(const std::string& key, std::optional<int64_t> fallback = {}) const { return file_.integer(prefix_ + key, fallback); }
  double real(const std::string& key, std::optional<double> fallback = {}) const { return file_.real(prefix_ + key, fallback); }
  bool has(const std::string& key) const { return file_.find(prefix_ + key) != nullptr; }

  // One number for all layers, or an array of one a layer.
  std::vector<int64_t> per_layer(const std::string& key, int64_t n_layers) const {
    const GgufValue* value = file_.find(prefix_ + key);
    if (value == nullptr || !value->is_array) return std::vector<int64_t>(static_cast<size_t>(n_layers), integer(key));
    if (value->integers.size() != static_cast<size_t>(n_layers))
      throw input_error(file_.path(), "key " + prefix_ + key + " has a wrong length", std::to_string(n_layers), std::to_string(value->integers.size()));
    return value->integers;
  }

 private:
  const GgufFile& file_;
  std::string prefix_;
};

struct Architecture {
  const char* name;
  Family family;
};
constexpr Architecture kArchitectures[] = {{"llama", Family::Llama},   {"qwen2", Family::Qwen2}, {"qwen3", Family::Qwen3},
                                           {"gemma3", Family::Gemma3}, {"deci", Family::Llama},  {"openelm", Family::Qwen3}};

Family family_of(const GgufFile& file, const std::string& architecture) {
  for (const Architecture& row : kArchitectures)
    if (architecture == row.name)
      return architecture == "deci" && file.find_tensor("blk.0.attn_q.bias") != nullptr ? Family::Qwen2 : row.family;
  throw input_error(file.path(), "architecture `" + printable(architecture) + "` is not supported", "llama, qwen2, qwen3, gemma3, deci or openelm");
}

// The converters store factors that divide the frequencies; they are recognised as Llama 3's scaling or refused.
RopeScaling scaling_from_factors(const GgufFile& file, const GgufTensor& factors, const ModelConfig& config) {
  const LayerConfig& layer = config.layers.front();
  const auto n = static_cast<size_t>(layer.head_dim / 2);
  if (factors.type != TensorType::F32 || factors.bytes.size() != n * sizeof(float))
    throw input_error(file.path(), "tensor rope_freqs.weight has a wrong shape", std::to_string(n) + " F32 values");
  std::vector<float> values(n);
  format_of(TensorType::F32).decode(factors.bytes.data(), static_cast<int64_t>(n), values.data());
  RopeScaling scaling{.type = "llama3", .factor = 1.0};
  for (const float value : values) scaling.factor = std::max(scaling.factor, static_cast<double>(value));
  ModelConfig plain = config, scaled = config;
  plain.rope_scaling.reset();
  scaled.rope_scaling = scaling;
  const std::vector<double> base = rope_frequencies(plain, layer), got = rope_frequencies(scaled, layer);
  for (size_t j = 0; j < n; ++j)
    if (std::fabs(base[j] / got[j] - static_cast<double>(values[j])) > 1e-4 * static_cast<double>(values[j]))
      throw input_error(file.path(), "rope_freqs.weight is no Llama 3 scaling that Attar knows", "low 1, high 4, original context 8192");
  return scaling;
}

}  // namespace

ModelConfig read_gguf_config(const GgufFile& file) {
  const std::string architecture = file.string("general.architecture");
  const ArchitectureKeys keys(file, architecture);
  ModelConfig config;
  config.family = family_of(file, architecture);
  config.width = keys.integer("embedding_length");
  config.context_length = keys.integer("context_length");
  const int64_t n_layers = keys.integer("block_count");
  if (n_layers < 1 || n_layers > 512) throw input_error(file.path(), "key " + architecture + ".block_count is impossible", "1 to 512", std::to_string(n_layers));
  const std::vector<int64_t> heads = keys.per_layer("attention.head_count", n_layers);
  const std::vector<int64_t> kv_heads = keys.has("attention.head_count_kv") ? keys.per_layer("attention.head_count_kv", n_layers) : heads;
  const std::vector<int64_t> ffn = keys.per_layer("feed_forward_length", n_layers);
  if (heads[0] < 1) throw input_error(file.path(), "key " + architecture + ".attention.head_count is impossible", "at least 1", std::to_string(heads[0]));
  const int64_t head_dim = keys.integer("attention.key_length", config.width / heads[0]);
  if (keys.integer("attention.value_length", head_dim) != head_dim)
    throw input_error(file.path(), "keys and values of different widths are not supported", std::to_string(head_dim), std::to_string(keys.integer("attention.value_length")));
  if (keys.integer("rope.dimension_count", head_dim) != head_dim)
    throw input_error(file.path(), "partial RoPE is not supported", std::to_string(head_dim) + " rotated dimensions", std::to_string(keys.integer("rope.dimension_count")));
  config.sliding_window = keys.integer("attention.sliding_window", 0);
  const int64_t pattern = config.family == Family::Gemma3 && config.sliding_window > 0 ? keys.integer("attention.sliding_window_pattern", 6) : 1;
  if (pattern < 1) throw input_error(file.path(), "key " + architecture + ".attention.sliding_window_pattern is impossible", "at least 1", std::to_string(pattern));
  for (int64_t i = 0; i < n_layers; ++i) {
    const auto at = static_cast<size_t>(i);
    const bool sliding = (i + 1) % pattern != 0;
    config.layers.push_back({sliding ? LayerKind::SlidingAttention : LayerKind::FullAttention, heads[at], kv_heads[at], head_dim, ffn[at]});
  }
  config.norm_epsilon = keys.real("attention.layer_norm_rms_epsilon");
  config.rope_theta = keys.real("rope.freq_base", 10000.0);
  config.rope_theta_sliding = keys.real("rope.freq_base_swa", 10000.0);
  config.tied_embeddings = file.find_tensor("output.weight") == nullptr;
  const GgufTensor* embedding = file.find_tensor("token_embd.weight");
  if (embedding == nullptr || embedding->shape.size() != 2) throw input_error(file.path(), "tensor token_embd.weight is missing or no matrix");
  config.vocab_size = embedding->shape[0];
  check_config(config, file.path());
  const std::string scaling = file.string(architecture + ".rope.scaling.type", "none");
  if (scaling == "linear") config.rope_scaling = RopeScaling{.type = "linear", .factor = keys.real("rope.scaling.factor", 1.0)};
  else if (scaling != "none") throw input_error(file.path(), "RoPE scaling `" + printable(scaling) + "` is not supported", "none or linear");
  if (const GgufTensor* factors = file.find_tensor("rope_freqs.weight")) config.rope_scaling = scaling_from_factors(file, *factors, config);
  return config;
}

}  // namespace attar
