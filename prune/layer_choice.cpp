#include "prune/layer_choice.h"

#include <algorithm>

#include "runtime/base/error.h"

namespace attar {
namespace {

bool is_uniform(const PruneOptions& options) {
  return options.layer_choice == kUniform;
}

// How many layers may go, and what stays then.
struct Limit {
  int64_t layers;
  const char* stays;
};
Limit limit_of(const ModelConfig& config, const PruneOptions& options) {
  const int64_t n = config.n_layers(), patterns = n / kPattern;
  if (patterned(config) && is_uniform(options))
    return {std::max<int64_t>(0, patterns - 2) * kPattern, "the first and the last pattern stay"};
  if (patterned(config)) return {(n - 1) / kPattern * kPattern, "one pattern stays"};
  if (is_uniform(options)) return {std::max<int64_t>(0, n - 2), "the first and the last stay"};
  return {std::max<int64_t>(0, n - kFirstKept - kLastKept), "the first two and the last stay"};
}

void check_count(const ModelConfig& config, const PruneOptions& options) {
  const int64_t unit = patterned(config) ? kPattern : 1, layers = options.drop_layers;
  if (layers % unit != 0)
    throw usage_error("prune.drop_layers", "gemma3 loses whole patterns of local and global layers", "a multiple of 6",
                      std::to_string(layers));
  const Limit most = limit_of(config, options);
  if (layers > most.layers)
    throw usage_error("prune.drop_layers",
                      "the model has " + std::to_string(config.n_layers()) + " layers, and " + most.stays,
                      "at most " + std::to_string(most.layers), std::to_string(layers));
}

void check_list(const ModelConfig& config, const std::vector<int64_t>& kept, int64_t drop_layers) {
  const int64_t n = config.n_layers(), count = static_cast<int64_t>(kept.size());
  for (const int64_t layer : kept)
    if (layer < 0 || layer >= n)
      throw usage_error("prune.keep_layers", "the model has " + std::to_string(n) + " layers",
                        "0 to " + std::to_string(n - 1), std::to_string(layer));
  if (drop_layers > 0 && drop_layers != n - count)
    throw usage_error("prune.drop_layers",
                      "keep_layers names " + std::to_string(count) + " of " + std::to_string(n) + " layers",
                      std::to_string(n - count) + ", or no drop_layers beside it", std::to_string(drop_layers));
  if (!patterned(config)) return;
  for (size_t i = 0; i < kept.size(); ++i)
    if (config.layers[static_cast<size_t>(kept[i])].kind != config.layers[i].kind)
      throw usage_error("prune.keep_layers", "gemma3 keeps its pattern of five local layers and a global one",
                        std::string("a ") + (config.layers[i].kind == LayerKind::FullAttention ? "global" : "local") +
                            " layer in place " + std::to_string(i),
                        "layer " + std::to_string(kept[i]));
}

}  // namespace

bool patterned(const ModelConfig& config) {
  return config.family == Family::Gemma3 && config.sliding_window > 0;
}

bool drops_by_influence(const PruneOptions& options) {
  return options.drop_layers > 0 && !options.keep_layers && !is_uniform(options);
}

bool drops_layers(const PruneOptions& options) {
  return options.drop_layers > 0 || options.keep_layers;
}

void check_layers(const ModelConfig& config, const PruneOptions& options) {
  if (options.keep_layers)
    check_list(config, *options.keep_layers, options.drop_layers);
  else
    check_count(config, options);
}

std::vector<int64_t> evenly_spaced(int64_t n, int64_t count) {
  std::vector<int64_t> places;
  for (int64_t i = 0; i < count; ++i) places.push_back((2 * i * (n - 1) + (count - 1)) / (2 * (count - 1)));
  return places;
}

std::optional<std::vector<int64_t>> chosen_layers(const ModelConfig& config, const PruneOptions& options) {
  if (options.keep_layers) return options.keep_layers;
  if (options.drop_layers == 0 || !is_uniform(options)) return std::nullopt;
  const int64_t n = config.n_layers(), unit = patterned(config) ? kPattern : 1, units = n / unit;
  std::vector<int64_t> kept;
  for (const int64_t place : evenly_spaced(units, units - options.drop_layers / unit))
    for (int64_t i = 0; i < unit; ++i) kept.push_back(place * unit + i);
  for (int64_t layer = units * unit; layer < n; ++layer) kept.push_back(layer);  // behind the last whole pattern
  return kept;
}

std::string kept_layers_note(const std::vector<int64_t>& kept, int64_t n_layers, const PruneOptions& options) {
  std::string text = kept.size() == 1 ? "kept layer " : "kept layers ";
  for (size_t i = 0; i < kept.size(); ++i)
    text += (i == 0 ? "" : i + 1 == kept.size() ? " and " : ", ") + std::to_string(kept[i]);
  return text + " of " + std::to_string(n_layers) +
         (options.keep_layers   ? ": those that were listed"
          : is_uniform(options) ? ": evenly spaced, from the first to the last"
                                : ": the others changed the hidden state least");
}

}  // namespace attar
