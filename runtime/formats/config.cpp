#include "runtime/formats/config.h"

#include <cmath>
#include <iterator>
#include <numbers>

#include "runtime/base/error.h"
#include "runtime/formats/tensor_specs.h"

namespace attar {
namespace {

//  family          name      hf_architecture       hf_model_type  bias   qk_norm sandwich +1    scaled gelu interleaved
constexpr FamilyTraits kFamilies[] = {
    {Family::Llama, "llama", "LlamaForCausalLM", "llama", false, false, false, false, false, false, true},
    {Family::Qwen2, "qwen2", "Qwen2ForCausalLM", "qwen2", true, false, false, false, false, false, false},
    {Family::Qwen3, "qwen3", "Qwen3ForCausalLM", "qwen3", false, true, false, false, false, false, false},
    {Family::Gemma3, "gemma3", "Gemma3ForCausalLM", "gemma3_text", false, true, true, true, true, true, false},
};

constexpr int64_t kMaxLayers = 512;  // as llama.cpp
constexpr int64_t kMaxExtent = int64_t{1} << 24;
constexpr int64_t kMaxParameters = int64_t{1} << 42;

class ConfigCheck {
 public:
  explicit ConfigCheck(const std::string& where) : where_(where) {}
  void within(const std::string& field, int64_t value, int64_t least, int64_t most) const {
    if (value < least || value > most)
      throw input_error(where_, field + " is impossible", std::to_string(least) + " to " + std::to_string(most),
                        std::to_string(value));
  }
  void positive(const std::string& field, double value) const {
    if (!(value > 0.0) || !std::isfinite(value))
      throw input_error(where_, field + " is impossible", "a number above 0", std::to_string(value));
  }
  void need(bool right, const std::string& text) const {
    if (!right) throw input_error(where_, text);
  }

 private:
  const std::string& where_;
};

// Llama 3: long wavelengths are stretched, short ones kept, those between blended (transformers, modeling_rope_utils).
double llama3_frequency(double frequency, const RopeScaling& s) {
  const double wavelength = 2.0 * std::numbers::pi / frequency;
  const auto original = static_cast<double>(s.original_context_length);
  if (wavelength < original / s.high_freq_factor) return frequency;
  if (wavelength > original / s.low_freq_factor) return frequency / s.factor;
  const double smooth = (original / wavelength - s.low_freq_factor) / (s.high_freq_factor - s.low_freq_factor);
  return (1.0 - smooth) * frequency / s.factor + smooth * frequency;
}

}  // namespace

std::span<const FamilyTraits> families() {
  return kFamilies;
}

const FamilyTraits& traits(Family family) {
  return kFamilies[static_cast<size_t>(family)];
}

const FamilyTraits* find_family(std::string_view name) {
  for (const FamilyTraits& row : kFamilies)
    if (name == row.name) return &row;
  return nullptr;
}

std::string family_names() {
  std::string text;
  for (const FamilyTraits& row : kFamilies)
    text += (&row == kFamilies ? "" : &row == std::end(kFamilies) - 1 ? " or " : ", ") + std::string(row.name);
  return text;
}

bool ModelConfig::uniform() const {
  for (const LayerConfig& layer : layers)
    if (layer.n_heads != layers[0].n_heads || layer.n_kv_heads != layers[0].n_kv_heads ||
        layer.head_dim != layers[0].head_dim || layer.ffn_width != layers[0].ffn_width)
      return false;
  return true;
}

int64_t ModelConfig::parameter_count() const {
  int64_t count = 0;
  for (const TensorSpec& spec : tensor_specs(*this)) count += spec.elements();
  return count;
}

int64_t ModelConfig::key_count() const {
  int64_t count = 0;
  for (const LayerConfig& layer : layers) count += layer.n_kv_heads * layer.head_dim;
  return count;
}

double ModelConfig::score_scale(const LayerConfig& layer) const {
  return attention_scale > 0.0 ? attention_scale : 1.0 / std::sqrt(static_cast<double>(layer.head_dim));
}

void check_config(const ModelConfig& config, const std::string& where) {
  const ConfigCheck check(where);
  check.within("the vocabulary size", config.vocab_size, 1, kMaxExtent);
  check.within("the width", config.width, 1, kMaxExtent);
  check.within("the context length", config.context_length, 1, kMaxExtent);
  check.within("the number of layers", config.n_layers(), 1, kMaxLayers);
  check.positive("the norm's epsilon", config.norm_epsilon);
  check.positive("rope_theta", config.rope_theta);
  check.positive("the local rope_theta", config.rope_theta_sliding);
  check.within("the sliding window", config.sliding_window, 0, kMaxExtent);
  check.need(std::isfinite(config.attention_scale) && config.attention_scale >= 0.0,
             "the attention scale is impossible");
  double total = 2.0 * static_cast<double>(config.vocab_size) * static_cast<double>(config.width);
  for (size_t i = 0; i < config.layers.size(); ++i) {
    const LayerConfig& layer = config.layers[i];
    const std::string name = "layer " + std::to_string(i) + ": ";
    check.within(name + "the number of heads", layer.n_heads, 1, 65536);
    check.within(name + "the number of key/value heads", layer.n_kv_heads, 1, layer.n_heads);
    check.need(layer.n_heads % layer.n_kv_heads == 0, name + "the heads do not divide by the key/value heads");
    check.within(name + "the head width", layer.head_dim, 2, 65536);
    check.need(layer.head_dim % 2 == 0, name + "the head width is odd");
    check.within(name + "the feed-forward width", layer.ffn_width, 1, kMaxExtent);
    check.need(layer.kind == LayerKind::FullAttention || config.sliding_window > 0,
               name + "has a sliding window of no size");
    total += static_cast<double>(config.width) *
             (2.0 * static_cast<double>((layer.n_heads + layer.n_kv_heads) * layer.head_dim) +
              3.0 * static_cast<double>(layer.ffn_width));
  }
  check.need(config.key_scales.empty() || static_cast<int64_t>(config.key_scales.size()) == config.key_count(),
             "there are " + std::to_string(config.key_scales.size()) + " scales of keys, and " +
                 std::to_string(config.key_count()) + " numbers in the keys of all layers");
  for (const float scale : config.key_scales) check.positive("a scale of keys", static_cast<double>(scale));
  check.need(total < static_cast<double>(kMaxParameters), "the sizes make more parameters than Attar handles (2^42)");
  if (config.rope_scaling) {
    check.need(config.rope_scaling->type == "llama3" || config.rope_scaling->type == "linear",
               "RoPE scaling `" + printable(config.rope_scaling->type) + "` is not supported (llama3 and linear are)");
    check.positive("the RoPE scaling factor", config.rope_scaling->factor);
    check.within("the RoPE scaling's original context", config.rope_scaling->original_context_length, 1, kMaxExtent);
    check.positive("the RoPE scaling's low_freq_factor", config.rope_scaling->low_freq_factor);
    check.need(config.rope_scaling->high_freq_factor > config.rope_scaling->low_freq_factor &&
                   std::isfinite(config.rope_scaling->high_freq_factor),
               "the RoPE scaling's high_freq_factor must be larger than its low_freq_factor");
  }
}

std::vector<double> rope_frequencies(const ModelConfig& config, const LayerConfig& layer) {
  const bool sliding = layer.kind == LayerKind::SlidingAttention;
  const double theta = sliding ? config.rope_theta_sliding : config.rope_theta;
  std::vector<double> frequencies(static_cast<size_t>(layer.head_dim / 2));
  for (size_t j = 0; j < frequencies.size(); ++j) {
    double frequency = std::pow(theta, -2.0 * static_cast<double>(j) / static_cast<double>(layer.head_dim));
    if (config.rope_scaling && !sliding)
      frequency = config.rope_scaling->type == "llama3" ? llama3_frequency(frequency, *config.rope_scaling)
                                                        : frequency / config.rope_scaling->factor;
    frequencies[j] = frequency;
  }
  return frequencies;
}

}  // namespace attar
