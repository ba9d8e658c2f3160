// What a model is: its family, its sizes, and the sizes of every layer. A pruned model is just another config.
//
// Legend as in the code conventions: V vocabulary, C width, H query heads, K key/value heads, D head width, F
// feed-forward width, L layers. Sources: the published Hugging Face configurations and GGUF metadata keys.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/formats/numerics.h"

namespace attar {

enum class Family { Llama, Qwen2, Qwen3, Gemma3 };

// All that distinguishes one family from another. A new family is a row of kFamilies (config.cpp).
struct FamilyTraits {
  Family family;
  const char* name;             // "llama": recipe key, GGUF general.architecture and Hugging Face model_type root
  const char* hf_architecture;  // "LlamaForCausalLM"
  const char* hf_model_type;    // "llama", "qwen2", "qwen3", "gemma3_text"
  bool qkv_bias;                // q, k, v projections have biases
  bool qk_norm;                 // RMSNorm over D on q and k, before RoPE
  bool sandwich_norms;          // norms after attention and after the feed-forward as well (gemma3)
  bool norm_plus_one;           // Hugging Face stores w, the model multiplies by 1 + w; GGUF stores 1 + w
  bool scaled_embedding;        // embeddings are multiplied by sqrt(C)
  bool gelu;                    // gelu_tanh gate in place of silu
  bool gguf_interleaved_rope;   // GGUF rows of q and k pair neighbours (2j, 2j+1) instead of (j, j + D/2)
};
std::span<const FamilyTraits> families();
const FamilyTraits& traits(Family family);
const FamilyTraits* find_family(std::string_view name);  // nullptr when unknown
std::string family_names();                              // "llama, qwen2, ... or gemma3", for errors

enum class LayerKind { FullAttention, SlidingAttention };

struct LayerConfig {
  LayerKind kind = LayerKind::FullAttention;
  int64_t n_heads = 0;     // H
  int64_t n_kv_heads = 0;  // K; H is a multiple of K
  int64_t head_dim = 0;    // D; even
  int64_t ffn_width = 0;   // F

  bool operator==(const LayerConfig&) const = default;
};

// Llama 3 scaling of the RoPE frequencies (Hugging Face rope_type "llama3"), or linear.
struct RopeScaling {
  std::string type;  // "llama3", "linear"
  double factor = 1.0;
  double low_freq_factor = 1.0;
  double high_freq_factor = 4.0;
  int64_t original_context_length = 8192;

  bool operator==(const RopeScaling&) const = default;
};

struct ModelConfig {
  Family family = Family::Llama;
  int64_t vocab_size = 0;  // V, rows of the embedding
  int64_t width = 0;       // C
  int64_t context_length = 0;
  std::vector<LayerConfig> layers;  // L
  bool tied_embeddings = true;      // the head is the embedding
  double norm_epsilon = 1e-5;
  double rope_theta = 10000.0;
  double rope_theta_sliding = 10000.0;  // for SlidingAttention layers (gemma3)
  std::optional<RopeScaling> rope_scaling;
  int64_t sliding_window = 0;    // a query at q sees keys at k with q - k < sliding_window; 0: none
  double attention_scale = 0.0;  // scores are multiplied by it; 0: 1 / sqrt(D)
  KvFormat kv = KvFormat::F16;   // how keys and values are kept unless the user says otherwise
  // What queries are multiplied by and keys divided by where keys are kept as int8: (K, D) of each layer, one layer
  // after another; empty: 1.
  std::vector<float> key_scales{};

  int64_t n_layers() const { return static_cast<int64_t>(layers.size()); }
  bool uniform() const;  // all layers have the same widths
  int64_t parameter_count() const;
  int64_t key_count() const;  // numbers in the keys of a token, of all layers
  double score_scale(const LayerConfig& layer) const;

  bool operator==(const ModelConfig&) const = default;
};

// Throws Error{Input} naming `where` and the field for anything that could not be a model: zero or negative sizes, H
// not a multiple of K, odd D, layers > 512, sizes whose products overflow.
void check_config(const ModelConfig& config, const std::string& where);

// Angular frequency of each pair: theta^(-2j/D), scaled as the config says. -> (D/2)
std::vector<double> rope_frequencies(const ModelConfig& config, const LayerConfig& layer);

}  // namespace attar
