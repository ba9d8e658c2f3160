#include "quantize/measure/key_scales.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros.h>
#include <c10/core/GradMode.h>

#include "compress/shards.h"
#include "runtime/base/error.h"

namespace attar {
namespace {

constexpr double kMostDoublings = 8.0;  // from the middle of a head, either way

// Sums of squares over tokens, (K, D) f64 each; of a query over the heads that share a key.
struct Energies {
  at::Tensor queries, keys;
};

Energies energies_of(const CausalLM& model, int64_t layer, const TokenBatch& batch, const at::Tensor& hidden) {
  const LayerConfig& sizes = model.config.layers[static_cast<size_t>(layer)];
  const at::Tensor input = group_input(model, layer, LinearGroup::QueryKeyValue, batch, hidden);
  const auto [queries, keys] = queries_keys(model, layer, batch, input);
  const auto sum = [&](const at::Tensor& heads) {  // (N, heads, D)
    const at::Tensor squares = heads.square().sum(at::IntArrayRef{0}, false, at::kDouble);
    return squares.view({sizes.n_kv_heads, -1, sizes.head_dim}).sum(1);
  };
  return {sum(queries), sum(keys)};
}

// -> s (K, D); 1 where nothing comes or goes
at::Tensor scales_of(const Energies& energies) {
  const at::Tensor wanted = (energies.keys / energies.queries).log2() / 4.0;
  const at::Tensor known = wanted.isfinite(), finite = at::where(known, wanted, 0.0);
  const at::Tensor middle = finite.sum(1, true) / known.sum(1, true).clamp_min(1);
  return at::where(known, (finite - middle).clamp(-kMostDoublings, kMostDoublings), 0.0).exp2();
}

}  // namespace

std::vector<float> key_scales(const WeightSource& weights, const std::vector<TokenBatch>& text, int threads,
                              const Progress& progress) {
  const OwnKernels own_kernels;
  const c10::NoGradGuard no_grad;
  const ModelConfig& config = weights.config();
  const OwnVocabulary own = own_vocabulary(text);
  const TensorSpec embedding = spec_of(config, Role::Embedding);
  CausalLM model{config, {{embedding.name, weights.rows(embedding, own.ids)}}};
  std::vector<at::Tensor> hidden;
  for (const TokenBatch& batch : own.batches) hidden.push_back(embed(model, batch));
  Event now{.stage = "keys", .unit = "layers", .total = config.n_layers()};
  const std::function<void()> between = [&] { report(progress, now); };
  std::vector<float> scales;
  for (int64_t layer = 0; layer < config.n_layers(); now.done = ++layer, between()) {
    load_layer(model, weights, layer, threads);
    std::vector<Energies> parts(own.batches.size());
    const auto measure = [&](int64_t part) {
      const auto b = static_cast<size_t>(part);
      parts[b] = energies_of(model, layer, own.batches[b], hidden[b]);
      hidden[b] = forward_block(model, layer, hidden[b], own.batches[b]);
    };
    run_shards(static_cast<int64_t>(parts.size()), threads, measure, between);
    forget_layer(model, layer);
    for (size_t b = 1; b < parts.size(); ++b) parts[0].queries += parts[b].queries, parts[0].keys += parts[b].keys;
    const at::Tensor found = scales_of(parts[0]).to(at::kFloat).contiguous();
    scales.insert(scales.end(), found.const_data_ptr<float>(), found.const_data_ptr<float>() + found.numel());
  }
  return scales;
}

}  // namespace attar
