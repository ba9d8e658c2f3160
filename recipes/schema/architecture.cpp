// The shape of a model that a recipe makes, as a config.
#include "recipes/schema/recipe.h"
#include "runtime/base/error.h"

namespace attar {

ModelConfig to_config(const Architecture& architecture, int64_t vocab_size) {
  const FamilyTraits* family = find_family(architecture.family);
  if (family == nullptr)
    throw usage_error("config.family", "is unknown", family_names(), printable(architecture.family));
  ModelConfig config;
  config.family = family->family;
  config.vocab_size = vocab_size;
  config.width = architecture.width;
  config.context_length = architecture.context;
  config.tied_embeddings = architecture.tied_embeddings;
  config.norm_epsilon = architecture.norm_epsilon;
  config.rope_theta = architecture.rope_theta;
  config.sliding_window = architecture.sliding_window;
  for (int64_t i = 0; i < architecture.layers; ++i) {
    const bool sliding = config.family == Family::Gemma3 && architecture.sliding_window > 0 && (i + 1) % 6 != 0;
    config.layers.push_back({sliding ? LayerKind::SlidingAttention : LayerKind::FullAttention, architecture.heads,
                             architecture.kv_heads, architecture.head_dim, architecture.ffn});
  }
  check_config(config, "config");
  return config;
}

}  // namespace attar
