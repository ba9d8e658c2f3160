#include "runtime/formats/gguf_config.h"

#include <cmath>

#include "runtime/base/error.h"

namespace attar {
namespace {

// Reads `<architecture>.<key>` of one file.
class ArchitectureKeys {
 public:
  ArchitectureKeys(const GgufFile& file, std::string architecture)
      : file_(file), prefix_(std::move(architecture) + ".") {}

  int64_t integer(const std::string& key, std::optional<int64_t> fallback = {}) const {
    return file_.integer(prefix_ + key, fallback);
  }
  double real(const std::string& key, std::optional<double> fallback = {}) const {
    return shortest_decimal(file_.real(prefix_ + key, fallback));
  }
  std::string text(const std::string& key, const std::string& fallback) const {
    return file_.string(prefix_ + key, fallback);
  }
  bool has(const std::string& key) const { return file_.find(prefix_ + key) != nullptr; }

  // One number for all layers, or an array of one a layer.
  std::vector<int64_t> per_layer(const std::string& key, int64_t n_layers) const {
    const GgufValue* value = file_.find(prefix_ + key);
    if (value == nullptr || !value->is_array) return std::vector<int64_t>(static_cast<size_t>(n_layers), integer(key));
    if (value->integers.size() != static_cast<size_t>(n_layers))  // an array of another type has no integers
      throw input_error(file_.path(), "key " + prefix_ + key + " has a wrong length", std::to_string(n_layers),
                        std::to_string(value->integers.size()));
    return value->integers;
  }

 private:
  const GgufFile& file_;
  std::string prefix_;
};

constexpr double kFactorTolerance = 3e-5;  // the converters compute the factors in float32; 10 times their error

struct Architecture {
  const char* name;
  Family family;
  Family family_with_bias;  // when blk.0.attn_q.bias is there
  bool interleaved_rope;
};
constexpr Architecture kArchitectures[] = {
    {"llama", Family::Llama, Family::Llama, true},  {"qwen2", Family::Qwen2, Family::Qwen2, false},
    {"qwen3", Family::Qwen3, Family::Qwen3, false}, {"gemma3", Family::Gemma3, Family::Gemma3, false},
    {"deci", Family::Llama, Family::Qwen2, true},   {"openelm", Family::Qwen3, Family::Qwen3, false}};

const Architecture& architecture_of(const GgufFile& file) {
  const std::string name = file.string("general.architecture");
  for (const Architecture& row : kArchitectures)
    if (name == row.name) return row;
  throw input_error(file.path(), "architecture `" + printable(name) + "` is not supported",
                    family_names() + "; deci and openelm for uneven layers");
}

constexpr int64_t kGemma27bLayers = 62;  // the one gemma3 whose scores are scaled by C/H, not by the head width

// The converters store factors that divide the frequencies, not what they were computed from. Llama 3.1 to 3.3 differ
// in the factor alone, which is the largest value; Attar's own files name all four numbers. Whatever the source, the
// factors must come out again.
RopeScaling scaling_from_factors(const GgufFile& file, const GgufTensor& factors, const ModelConfig& config) {
  const LayerConfig& layer = config.layers.front();
  const auto n = static_cast<size_t>(layer.head_dim / 2);
  if (factors.type != TensorType::F32 || factors.bytes.size() != n * sizeof(float))
    throw input_error(file.path(), "tensor rope_freqs.weight has a wrong shape", std::to_string(n) + " F32 values");
  std::vector<float> values(n);
  std::vector<std::byte> buffer;
  format_of(TensorType::F32).decode(factors.bytes.read(buffer).data(), static_cast<int64_t>(n), values.data());
  RopeScaling scaling{.type = "llama3", .factor = 1.0};
  for (const float value : values) scaling.factor = std::max(scaling.factor, static_cast<double>(value));
  const std::string own = "attar.rope.llama3.";
  scaling.factor = shortest_decimal(file.real(own + "factor", scaling.factor));
  scaling.low_freq_factor = shortest_decimal(file.real(own + "low_freq_factor", scaling.low_freq_factor));
  scaling.high_freq_factor = shortest_decimal(file.real(own + "high_freq_factor", scaling.high_freq_factor));
  scaling.original_context_length = file.integer(own + "original_context_length", scaling.original_context_length);
  ModelConfig plain = config, scaled = config;
  plain.rope_scaling.reset();
  scaled.rope_scaling = scaling;
  check_config(scaled, file.path());
  const std::vector<double> base = rope_frequencies(plain, layer), got = rope_frequencies(scaled, layer);
  for (size_t j = 0; j < n; ++j)
    if (!(std::fabs(base[j] / got[j] - static_cast<double>(values[j])) <=
          kFactorTolerance * static_cast<double>(values[j])))
      throw input_error(file.path(), "rope_freqs.weight is no Llama 3 scaling that Attar knows",
                        "low 1, high 4, original context 8192", "",
                        "convert the model from its Hugging Face directory instead");
  return scaling;
}

void read_rope_scaling(const GgufFile& file, const ArchitectureKeys& keys, ModelConfig& config) {
  // A factor without a type means linear: so did the first converters, the very first under another name.
  const char* factor = keys.has("rope.scaling.factor") ? "rope.scaling.factor" : "rope.scale_linear";
  const std::string type = keys.text("rope.scaling.type", keys.has(factor) ? "linear" : "none");
  if (type == "linear")
    config.rope_scaling = RopeScaling{.type = "linear", .factor = keys.real(factor, 1.0)};
  else if (type != "none")
    throw input_error(file.path(), "RoPE scaling `" + printable(type) + "` is not supported", "none or linear");
  check_config(config, file.path());
  const GgufTensor* factors = file.find_tensor("rope_freqs.weight");
  if (factors == nullptr) return;
  if (config.rope_scaling)
    throw input_error(file.path(), "has rope_freqs.weight and linear RoPE scaling at once", "one of them");
  config.rope_scaling = scaling_from_factors(file, *factors, config);
}

void read_layers(const GgufFile& file, const ArchitectureKeys& keys, const std::string& architecture,
                 ModelConfig& config) {
  const int64_t n_layers = keys.integer("block_count");
  if (n_layers < 1 || n_layers > 512)
    throw input_error(file.path(), "key " + architecture + ".block_count is impossible", "1 to 512",
                      std::to_string(n_layers));
  const std::vector<int64_t> heads = keys.per_layer("attention.head_count", n_layers);
  const std::vector<int64_t> kv_heads =
      keys.has("attention.head_count_kv") ? keys.per_layer("attention.head_count_kv", n_layers) : heads;
  const std::vector<int64_t> ffn = keys.per_layer("feed_forward_length", n_layers);
  if (heads[0] < 1)
    throw input_error(file.path(), "key " + architecture + ".attention.head_count is impossible", "at least 1",
                      std::to_string(heads[0]));
  const int64_t head_dim = keys.integer("attention.key_length", config.width / heads[0]);
  if (keys.integer("attention.value_length", head_dim) != head_dim)
    throw input_error(file.path(), "keys and values of different widths are not supported", std::to_string(head_dim),
                      std::to_string(keys.integer("attention.value_length")));
  if (keys.integer("rope.dimension_count", head_dim) != head_dim)
    throw input_error(file.path(), "partial RoPE is not supported", std::to_string(head_dim) + " rotated dimensions",
                      std::to_string(keys.integer("rope.dimension_count")));
  config.sliding_window = keys.integer("attention.sliding_window", 0);
  const int64_t pattern = config.family == Family::Gemma3 && config.sliding_window > 0
                              ? keys.integer("attention.sliding_window_pattern", 6)
                              : 1;
  if (pattern < 1)
    throw input_error(file.path(), "key " + architecture + ".attention.sliding_window_pattern is impossible",
                      "at least 1", std::to_string(pattern));
  for (int64_t i = 0; i < n_layers; ++i) {
    const auto at = static_cast<size_t>(i);
    const bool sliding = (i + 1) % pattern != 0;
    config.layers.push_back(
        {sliding ? LayerKind::SlidingAttention : LayerKind::FullAttention, heads[at], kv_heads[at], head_dim, ffn[at]});
  }
}

}  // namespace

bool is_gguf_architecture(std::string_view name) {
  for (const Architecture& row : kArchitectures)
    if (name == row.name) return true;
  return false;
}

bool gguf_interleaves_rope(const GgufFile& file) {
  return architecture_of(file).interleaved_rope;
}

ModelConfig read_gguf_config(const GgufFile& file) {
  const Architecture& architecture = architecture_of(file);
  const ArchitectureKeys keys(file, architecture.name);
  if (keys.integer("expert_count", 0) > 0)
    throw input_error(file.path(), "mixtures of experts are not supported", "no key expert_count, or 0",
                      std::to_string(keys.integer("expert_count")));
  ModelConfig config;
  config.family =
      file.find_tensor("blk.0.attn_q.bias") != nullptr ? architecture.family_with_bias : architecture.family;
  config.width = keys.integer("embedding_length");
  config.context_length = keys.integer("context_length");
  read_layers(file, keys, architecture.name, config);
  if (config.family == Family::Gemma3 && config.n_layers() == kGemma27bLayers)
    config.attention_scale =
        1.0 / std::sqrt(static_cast<double>(config.width) / static_cast<double>(config.layers[0].n_heads));
  config.norm_epsilon = keys.real("attention.layer_norm_rms_epsilon");
  config.rope_theta = keys.real("rope.freq_base", 10000.0);
  config.rope_theta_sliding = keys.real("rope.freq_base_swa", 10000.0);
  config.tied_embeddings = file.find_tensor("output.weight") == nullptr;
  const GgufTensor* embedding = file.find_tensor("token_embd.weight");
  if (embedding == nullptr || embedding->shape.size() != 2)
    throw input_error(file.path(), "tensor token_embd.weight is missing or no matrix");
  config.vocab_size = embedding->shape[0];
  if (const std::string kv = file.string(kKvKey, ""); !kv.empty()) {
    const std::optional<KvFormat> known = find_kv_format(kv);
    if (!known)
      throw input_error(file.path(), std::string("key ") + kKvKey + " is unknown", "f16 or int8", printable(kv));
    config.kv = *known;
  }
  if (const GgufValue* scales = file.find(kKeyScalesKey)) {
    if (!scales->is_array || scales->reals.empty())
      throw input_error(file.path(), std::string("key ") + kKeyScalesKey + " is no list of numbers");
    config.key_scales.assign(scales->reals.begin(), scales->reals.end());
  }
  read_rope_scaling(file, keys, config);
  return config;
}

}  // namespace attar
