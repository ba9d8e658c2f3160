#include "prune/prune.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cosine_similarity.h>
#include <ATen/ops/tensor.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>

#include "compress/block_walk.h"
#include "compress/shards.h"
#include "prune/kept_cuts.h"
#include "prune/layer_choice.h"
#include "prune/refit.h"
#include "prune/vocabulary.h"
#include "runtime/base/error.h"

namespace attar {
namespace {

constexpr int64_t kSequenceTokens = 512, kBatchTokens = 1024;
constexpr int64_t kTokensAnInput = 16;  // that a fit of a linear's inputs wants

// The widths that a layer keeps.
int64_t kept_channels(const LayerConfig& layer, const PruneOptions& options) {
  const double wanted = static_cast<double>(layer.ffn_width) * (1.0 - options.drop_ffn);
  const auto steps = static_cast<int64_t>(std::llround(wanted / static_cast<double>(options.round_channels)));
  return std::min(layer.ffn_width, std::max<int64_t>(1, steps) * options.round_channels);
}
int64_t kept_kv_groups(const LayerConfig& layer, const PruneOptions& options) {
  return std::max<int64_t>(1, std::llround(static_cast<double>(layer.n_kv_heads) * (1.0 - options.drop_heads)));
}

at::Tensor index_tensor(const std::vector<int64_t>& ids) {
  return at::tensor(ids, at::kLong);
}

void keep_rows(CausalLM& model, int64_t layer, Role role, const at::Tensor& rows) {
  at::Tensor& tensor = model.parameters.at(tensor_name(layer, role));
  tensor = tensor.index_select(0, rows).contiguous();
}

// gate and up rows, down columns.
void cut_channels(CausalLM& model, const LinearStats& stats, const CutOptions& options, LayerCut& cut) {
  at::Tensor& down = model.parameters.at(tensor_name(cut.layer, Role::Down));
  const InputCut inputs = cut_inputs(down, stats, options);
  down = inputs.weight;
  for (const Role role : {Role::Gate, Role::Up}) keep_rows(model, cut.layer, role, inputs.inputs);
  cut.kept_channels = inputs.kept;
  cut.relative_error = std::max(cut.relative_error, inputs.relative_error);
  model.config.layers[static_cast<size_t>(cut.layer)].ffn_width = options.keep;
}

// A KV group goes with all its query heads: q, k, v rows and biases, o columns.
void cut_kv_groups(CausalLM& model, const LinearStats& stats, const CutOptions& options, LayerCut& cut) {
  LayerConfig& config = model.config.layers[static_cast<size_t>(cut.layer)];
  at::Tensor& output = model.parameters.at(tensor_name(cut.layer, Role::AttentionOutput));
  const InputCut inputs = cut_inputs(output, stats, options);
  output = inputs.weight;
  std::vector<int64_t> kv;
  for (const int64_t group : inputs.kept)
    for (int64_t i = 0; i < config.head_dim; ++i) kv.push_back(group * config.head_dim + i);
  const at::Tensor kv_rows = index_tensor(kv);
  const bool biased = traits(model.config.family).qkv_bias;
  for (const Role role : {Role::Query, Role::QueryBias})
    if (role == Role::Query || biased) keep_rows(model, cut.layer, role, inputs.inputs);
  for (const Role role : {Role::Key, Role::Value, Role::KeyBias, Role::ValueBias})
    if (role == Role::Key || role == Role::Value || biased) keep_rows(model, cut.layer, role, kv_rows);
  cut.kept_kv_groups = inputs.kept;
  cut.relative_error = std::max(cut.relative_error, inputs.relative_error);
  config.n_heads = options.keep * (config.n_heads / config.n_kv_heads);
  config.n_kv_heads = options.keep;
}

// "kept 2 of 3 KV groups in every layer"; layers that differ are counted together.
std::string kept_note(const ModelConfig& before, const ModelConfig& after, int64_t LayerConfig::*width,
                      const std::string& what) {
  const auto total = [&](const ModelConfig& config) {
    int64_t sum = 0;
    for (const LayerConfig& layer : config.layers) sum += layer.*width;
    return sum;
  };
  const auto alike = [&](const ModelConfig& config) {
    return total(config) == config.layers[0].*width * config.n_layers();
  };
  const bool every = alike(before) && alike(after);
  const int64_t layers = every ? before.n_layers() : 1;
  return "kept " + std::to_string(total(after) / layers) + " of " + std::to_string(total(before) / layers) + " " +
         what + (every ? " in every layer" : " in all layers together") +
         (total(after) == total(before) ? ": the share asked for rounds to none" : "");
}

// What the walk collects of a group whose inputs are cut, `inputs` of them in the widest layer. A fit to the whole
// model's output wants many tokens an input: with fewer it follows noise (SmolLM2, 1,536 inputs, 8,192 tokens: the
// pruned model's divergence was 0.55 with it and 0.46 without), and what is missing is said.
GroupVisit fit_of(int64_t inputs, const std::vector<TokenBatch>& batches, const char* name, PruneResult& result) {
  int64_t tokens = 0;
  for (const TokenBatch& batch : batches) tokens += batch.tokens.size(0);
  const int64_t wanted = kTokensAnInput * inputs;
  if (tokens < wanted)
    result.notes.push_back(std::string(name) + ": fitted to the pruned model's own output, on " +
                           std::to_string(tokens) + " tokens; the whole model's wants " +
                           std::to_string(kTokensAnInput) + " for each of the " + std::to_string(inputs) + " inputs, " +
                           std::to_string(wanted - tokens) + " more");
  return {.kind = GroupVisit::Change, .gram = true, .target = tokens >= wanted};
}

void cut_widths(CausalLM& model, const std::vector<TokenBatch>& batches, const PruneOptions& options, int threads,
                const KeptCuts& kept, PruneResult& result, const Progress& progress) {
  const ModelConfig before = model.config;
  for (int64_t layer = 0; layer < model.config.n_layers(); ++layer)
    result.cuts.push_back({.layer = layer, .kept_channels = {}, .kept_kv_groups = {}});
  int64_t channels = 0, heads = 0;  // the widest inputs
  for (const LayerConfig& layer : before.layers) {
    channels = std::max(channels, layer.ffn_width);
    heads = std::max(heads, layer.n_heads * layer.head_dim);
  }
  WalkOptions walk{.visits = {}, .threads = threads};
  const auto visited = [&](LinearGroup group) -> GroupVisit& { return walk.visits[static_cast<size_t>(group)]; };
  if (options.drop_heads > 0.0) visited(LinearGroup::AttentionOutput) = fit_of(heads, batches, "heads", result);
  if (options.drop_ffn > 0.0) visited(LinearGroup::Down) = fit_of(channels, batches, "ffn", result);
  const auto visit = [&](int64_t layer, LinearGroup group, const LinearStats& stats) {
    const LayerConfig& config = model.config.layers[static_cast<size_t>(layer)];
    LayerCut& cut = result.cuts[static_cast<size_t>(layer)];
    const bool last = group == LinearGroup::Down || visited(LinearGroup::Down).kind == GroupVisit::None;
    CutOptions inputs{.group = 1, .keep = 0, .damping = options.damping, .refit = options.refit};
    if (group == LinearGroup::AttentionOutput) {
      inputs.group = config.n_heads / config.n_kv_heads * config.head_dim;
      inputs.keep = kept_kv_groups(config, options);
      if (inputs.keep < config.n_kv_heads) cut_kv_groups(model, stats, inputs, cut);
    } else {
      inputs.keep = kept_channels(config, options);
      if (inputs.keep < config.ffn_width) cut_channels(model, stats, inputs, cut);
    }
    if (last) kept.keep(layer, model, cut);
  };
  while (walk.finished_layers < model.config.n_layers() && kept.has(walk.finished_layers)) ++walk.finished_layers;
  walk.restore = [&](int64_t layer) { kept.take(layer, model, result.cuts[static_cast<size_t>(layer)]); };
  walk_blocks(model, batches, walk, visit, "prune", progress);
  if (options.drop_heads > 0.0)
    result.notes.push_back(kept_note(before, model.config, &LayerConfig::n_kv_heads, "KV groups"));
  if (options.drop_ffn > 0.0)
    result.notes.push_back(kept_note(before, model.config, &LayerConfig::ffn_width, "feed-forward channels") +
                           ", in multiples of " + std::to_string(options.round_channels));
}

// 1 - mean cosine of what goes into and comes out of each layer (ShortGPT, Men et al. 2024, arXiv 2403.03853, eq. 1).
std::vector<double> block_influence(const CausalLM& model, const std::vector<TokenBatch>& batches, int threads,
                                    const std::function<void()>& between) {
  const auto n_layers = static_cast<size_t>(model.config.n_layers());
  std::vector<std::vector<double>> sums(batches.size(), std::vector<double>(n_layers, 0.0));
  const auto measure = [&](int64_t b) {
    const TokenBatch& batch = batches[static_cast<size_t>(b)];
    at::Tensor hidden = embed(model, batch);
    for (size_t layer = 0; layer < n_layers; ++layer) {
      const at::Tensor next = forward_block(model, static_cast<int64_t>(layer), hidden, batch);
      sums[static_cast<size_t>(b)][layer] = at::cosine_similarity(hidden, next, 1).to(at::kDouble).sum().item<double>();
      hidden = next;
    }
  };
  run_shards(static_cast<int64_t>(batches.size()), threads, measure, between);
  double tokens = 0.0;
  for (const TokenBatch& batch : batches) tokens += static_cast<double>(batch.tokens.size(0));
  std::vector<double> influence(n_layers, 1.0);
  for (size_t layer = 0; layer < n_layers; ++layer)
    for (const auto& part : sums) influence[layer] -= part[layer] / tokens;
  for (size_t layer = 0; layer < n_layers; ++layer)
    if (!std::isfinite(influence[layer]))
      throw input_error("layer " + std::to_string(layer), "the model's values overflow on the calibration text", "", "",
                        "the model is damaged or its training diverged");
  return influence;
}

void drop_layer(CausalLM& model, int64_t layer) {
  std::map<std::string, at::Tensor> renamed;
  for (const TensorSpec& spec : tensor_specs(model.config)) {
    if (spec.layer == layer) continue;
    const int64_t now = spec.layer > layer ? spec.layer - 1 : spec.layer;
    renamed[tensor_name(now, spec.role)] = model.parameters.at(spec.name);
  }
  model.parameters = std::move(renamed);
  model.config.layers.erase(model.config.layers.begin() + layer);
}

// Layers that options alone choose.
void keep_chosen(CausalLM& model, const std::vector<int64_t>& chosen, PruneResult& result) {
  for (int64_t layer = model.config.n_layers() - 1; layer >= 0; --layer) {
    if (std::binary_search(chosen.begin(), chosen.end(), layer)) continue;
    drop_layer(model, layer);
    result.removed_layers.push_back(layer);
  }
  std::reverse(result.removed_layers.begin(), result.removed_layers.end());
  result.kept_layers = chosen;
}

// One unit after another, the least influential first; scores are measured again after each. gemma3's units are whole
// patterns of local and global layers, since other runtimes count on the pattern.
void drop_layers(CausalLM& model, const std::vector<TokenBatch>& batches, int64_t count, int threads,
                 const KeptCuts& kept, PruneResult& result, const Progress& progress) {
  const bool whole_patterns = patterned(model.config);
  const int64_t unit = whole_patterns ? kPattern : 1;
  std::vector<int64_t> original(static_cast<size_t>(model.config.n_layers()));
  std::iota(original.begin(), original.end(), int64_t{0});
  const auto drop = [&](int64_t layer) {
    result.removed_layers.push_back(original[static_cast<size_t>(layer)]);
    original.erase(original.begin() + layer);
    drop_layer(model, layer);
  };
  for (const int64_t layer : kept.removed_layers())
    drop(std::lower_bound(original.begin(), original.end(), layer) - original.begin());
  Event now{.stage = "prune", .unit = "layers removed", .total = count};
  const std::function<void()> between = [&] { report(progress, now); };
  for (now.done = static_cast<int64_t>(result.removed_layers.size()); now.done < count; between()) {
    const std::vector<double> influence = block_influence(model, batches, threads, between);
    const int64_t n = model.config.n_layers(), first = whole_patterns ? 0 : kFirstKept,
                  last = whole_patterns ? n : n - kLastKept;
    int64_t best = -1;
    double least = HUGE_VAL;
    for (int64_t start = first; start + unit <= last; start += unit) {
      const double sum = std::accumulate(influence.begin() + start, influence.begin() + start + unit, 0.0);
      if (sum < least) best = start, least = sum;
    }
    for (int64_t i = 0; i < unit; ++i) drop(best);
    now.done += unit;
    kept.keep_removed(result.removed_layers);
  }
  result.kept_layers = original;
}

void cut_vocabulary(CausalLM& model, TokenizerData& tokenizer, const TokenDataset& data, int64_t target,
                    PruneResult& result) {
  const VocabularyCut cut = trim_vocabulary(tokenizer, count_tokens(data, model.config.vocab_size), target);
  const at::Tensor rows = index_tensor({cut.kept.begin(), cut.kept.end()});
  for (const Role role : {Role::Embedding, Role::Output})
    if (role == Role::Embedding || !model.config.tied_embeddings) keep_rows(model, 0, role, rows);
  model.config.vocab_size = static_cast<int64_t>(cut.kept.size());
  tokenizer = cut.tokenizer;
  result.kept_tokens = cut.kept;
  result.notes.push_back("vocabulary cut to " + std::to_string(cut.kept.size()) +
                         " tokens; dropped ones are spelled with those that are left");
}

}  // namespace

ModelConfig pruned_shape(const ModelConfig& config, const PruneOptions& options) {
  check_layers(config, options);
  ModelConfig shape = config;
  if (drops_layers(options) || options.drop_heads > 0.0) shape.key_scales.clear();
  if (options.keep_vocab > 0) shape.vocab_size = std::min(shape.vocab_size, options.keep_vocab);
  const std::optional<std::vector<int64_t>> chosen = chosen_layers(config, options);
  shape.layers.resize(chosen ? chosen->size() : shape.layers.size() - static_cast<size_t>(options.drop_layers));
  for (size_t i = 0; chosen && i < chosen->size(); ++i)
    shape.layers[i] = config.layers[static_cast<size_t>((*chosen)[i])];
  for (LayerConfig& layer : shape.layers) {
    const int64_t heads_a_group = layer.n_heads / layer.n_kv_heads;
    if (options.drop_ffn > 0.0) layer.ffn_width = kept_channels(layer, options);
    layer.n_kv_heads = kept_kv_groups(layer, options);
    layer.n_heads = layer.n_kv_heads * heads_a_group;
  }
  return shape;
}

bool asks_the_text(const PruneOptions& options) {
  return drops_by_influence(options) || options.drop_ffn > 0.0 || options.drop_heads > 0.0 || options.keep_vocab > 0;
}

PruneResult prune(CausalLM& model, TokenizerData& tokenizer, const TokenDataset& calibration,
                  const PruneOptions& options, int threads, const Progress& progress, const std::string& steps) {
  const OwnKernels own_kernels;
  const c10::NoGradGuard no_grad;
  PruneResult result;
  result.parameters_before = model.config.parameter_count();
  check_layers(model.config, options);
  const bool by_influence = drops_by_influence(options);
  const bool needs_data = by_influence || options.drop_ffn > 0.0 || options.drop_heads > 0.0;
  std::vector<TokenBatch> batches;
  if (needs_data)
    batches = batches_in_order(calibration, std::min(kSequenceTokens, model.config.context_length), kBatchTokens,
                               options.calibration_tokens);
  if (drops_layers(options) || options.drop_heads > 0.0) model.config.key_scales.clear();  // of keys that go
  if (needs_data && batches.empty())
    throw input_error("prune", "the calibration data is empty", "text to measure activations on");
  const KeptCuts kept(needs_data ? steps : "", model, batches, options);
  const int64_t n_layers = model.config.n_layers();
  if (by_influence) drop_layers(model, batches, options.drop_layers, threads, kept, result, progress);
  if (const auto chosen = chosen_layers(model.config, options)) keep_chosen(model, *chosen, result);
  if (drops_layers(options)) result.notes.push_back(kept_layers_note(result.kept_layers, n_layers, options));
  if (options.drop_ffn > 0.0 || options.drop_heads > 0.0)
    cut_widths(model, batches, options, threads, kept, result, progress);
  if (options.keep_vocab > 0 && options.keep_vocab < model.config.vocab_size)
    cut_vocabulary(model, tokenizer, calibration, options.keep_vocab, result);
  check_config(model.config, "the pruned model");
  result.parameters_after = model.config.parameter_count();
  return result;
}

}  // namespace attar
