#include "quantize/measure/survey.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/bincount.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/minimum.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/tensor.h>

#include "compress/block_walk.h"
#include "compress/fisher.h"
#include "quantize/gptq.h"
#include "quantize/measure/importance.h"

namespace attar {
namespace {

constexpr uint64_t kSeed = 9;

// What a linear's errors cost by input: alone, and what error feedback leaves of it. (in) f64 each
struct InputCosts {
  at::Tensor alone, fed_back;

  InputCosts(const at::Tensor& gram, int64_t tokens) : alone(gram.diagonal() / static_cast<double>(tokens)) {
    const gptq::InputHessian inputs = gptq::input_hessian(gram, tokens);
    const at::Tensor left = inputs.factor.diagonal().to(at::kDouble).pow(-2);
    fed_back = at::empty_like(left);
    fed_back.index_copy_(0, at::tensor(inputs.order, at::kLong), left);
    fed_back = at::minimum(alone, fed_back);
  }
  ErrorMetric with(const at::Tensor& outputs) const { return {outputs, alone, fed_back}; }
};

// How often each token comes, once more than it came; sums to 1. -> (V)
at::Tensor frequencies(const std::vector<TokenBatch>& sequences, int64_t vocab) {
  at::Tensor counts = at::ones({vocab}, at::kDouble);
  for (const TokenBatch& batch : sequences) counts += at::bincount(batch.tokens, {}, vocab);
  return counts / counts.sum();
}

}  // namespace

Survey take_survey(const WeightSource& weights, const std::vector<TokenBatch>& sequences, int threads,
                   const Progress& progress, const KeptAt& kept) {
  Survey survey;
  const ModelConfig& config = weights.config();
  const OutputFisher fisher =
      output_fisher(weights, sequences, kSeed, find_precision("auto").value(), threads, progress, kept);
  const bool scaled = traits(config.family).scaled_embedding;
  const at::Tensor lookups = fisher.lookups * (scaled ? static_cast<double>(config.width) : 1.0);
  const std::string embedding = tensor_name(0, Role::Embedding);
  survey.embedding = lookups.clone();
  survey.streams = fisher.streams;
  survey.metrics[embedding].push_back(InputCosts(lookups, 1).with(frequencies(sequences, config.vocab_size)));
  WalkOptions options{.visits = {}, .threads = threads, .weights = &weights};
  for (GroupVisit& group : options.visits) group = {.kind = GroupVisit::Look, .gram = true};
  const auto visit = [&](int64_t layer, LinearGroup group, const LinearStats& stats) {
    const InputCosts costs(stats.gram, stats.tokens);
    for (const Role role : group_roles(config, group)) {
      const std::string name = tensor_name(layer, role);
      survey.metrics[name].push_back(costs.with(group == LinearGroup::Head ? fisher.head : fisher.outputs.at(name)));
      survey.weights[name] = relative_weights(input_means(stats));
      if (role == Role::Embedding)
        survey.embedding += stats.gram * (fisher.head.sum() / static_cast<double>(stats.tokens));
    }
  };
  const OwnVocabulary own = own_vocabulary(sequences);
  CausalLM model{config, {{embedding, weights.rows(spec_of(config, Role::Embedding), own.ids)}}};
  walk_blocks(model, own.batches, options, visit, "inputs", progress);
  survey.weights[embedding] = diagonal_weights(survey.embedding);
  return survey;
}

}  // namespace attar
