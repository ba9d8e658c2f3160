#include "prune/prune.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/tensor.h>
#include <c10/core/GradMode.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "prune/refit.h"
#include "runtime/base/error.h"

namespace attar {
namespace {

// W = (1, 2, 3), H = [[2,1,0],[1,2,1],[0,1,2]]: reference "pruning", section 1.3.
TEST(Refit, GoldenRow) {
  const at::Tensor hessian = at::tensor({2.0, 1.0, 0.0, 1.0, 2.0, 1.0, 0.0, 1.0, 2.0}, at::kDouble).view({3, 3});
  const at::Tensor weight = at::tensor({1.0f, 2.0f, 3.0f}, at::kFloat).view({1, 3});
  const at::Tensor errors = removal_errors(weight, hessian, 1);
  EXPECT_NEAR(errors[0].item<double>(), 4.0 / 3.0, 1e-9);
  EXPECT_NEAR(errors[1].item<double>(), 4.0, 1e-9);
  EXPECT_NEAR(errors[2].item<double>(), 12.0, 1e-9);
  const at::Tensor without_first = refit(weight, hessian, at::tensor({1, 2}, at::kLong));
  EXPECT_NEAR(without_first[0][0].item<double>(), 8.0 / 3.0, 1e-6);
  EXPECT_NEAR(without_first[0][1].item<double>(), 8.0 / 3.0, 1e-6);
  const at::Tensor middle_alone = refit(weight, hessian, at::tensor({1}, at::kLong));
  EXPECT_NEAR(middle_alone[0][0].item<double>(), 4.0, 1e-6);
}

ModelConfig config_of(Family family, bool tied) {
  ModelConfig config;
  config.family = family;
  config.vocab_size = 120;
  config.width = 30;
  config.context_length = 64;
  config.tied_embeddings = tied;
  config.layers = {{LayerKind::FullAttention, 6, 3, 4, 50},
                   {LayerKind::FullAttention, 4, 2, 6, 37},
                   {LayerKind::FullAttention, 3, 3, 8, 64}};
  return config;
}

TokenDataset text() {
  TokenDataset data;
  for (int d = 0; d < 6; ++d) {
    TokenDocument document;
    for (int i = 0; i < 40 + d; ++i) document.tokens.push_back((d * 31 + i * i * 7) % 120);
    document.in_loss.assign(document.tokens.size(), 1);
    data.documents.push_back(std::move(document));
  }
  return data;
}

// The sliced model gives what the whole one gives with the removed channels and groups set to zero.
TEST(Prune, SlicedEqualsMasked) {
  const c10::NoGradGuard no_grad;
  for (const Family family : {Family::Llama, Family::Qwen2, Family::Qwen3})
    for (const bool tied : {true, false}) {
      CausalLM sliced = CausalLM::random(config_of(family, tied), 2);
      for (auto& [name, tensor] : sliced.parameters)
        if (name.ends_with(".bias")) tensor.copy_(at::arange(tensor.numel(), at::kFloat).mul_(0.01));
      CausalLM masked = sliced.clone();
      TokenizerData tokenizer;
      PruneOptions options;
      options.ffn = 0.3, options.heads = 0.4, options.round_channels = 1, options.refit = false;
      const PruneResult result = prune(sliced, tokenizer, text(), options, 2);
      for (const LayerCut& cut : result.cuts) {
        const LayerConfig& layer = masked.config.layers[static_cast<size_t>(cut.layer)];
        const auto zero_others = [&](Role role, const std::vector<int64_t>& kept, int64_t group) {
          at::Tensor& weight = masked.parameters.at(tensor_name(cut.layer, role));
          for (int64_t g = 0; g < weight.size(1) / group; ++g)
            if (std::find(kept.begin(), kept.end(), g) == kept.end()) weight.narrow(1, g * group, group).zero_();
        };
        zero_others(Role::Down, cut.kept_channels, 1);
        if (!cut.kept_kv_groups.empty())
          zero_others(Role::AttentionOutput, cut.kept_kv_groups, layer.n_heads / layer.n_kv_heads * layer.head_dim);
      }
      const TokenBatch batch = batches_in_order(text(), 64, 100)[0];
      const at::Tensor a = logits(sliced, batch), b = logits(masked, batch);
      EXPECT_LE((a - b).abs().max().item<double>(), 1e-5 * b.abs().max().item<double>()) << traits(family).name << tied;
      EXPECT_EQ(result.parameters_after, sliced.config.parameter_count());
      EXPECT_LT(result.parameters_after, result.parameters_before);
    }
}

TEST(Prune, RefitLeavesLessErrorThanSlicing) {
  const c10::NoGradGuard no_grad;
  double errors[2];
  for (const bool mended : {false, true}) {
    CausalLM model = CausalLM::random(config_of(Family::Llama, true), 2);
    TokenizerData tokenizer;
    PruneOptions options;
    options.ffn = 0.3, options.round_channels = 1, options.refit = mended;
    errors[mended] = prune(model, tokenizer, text(), options, 1).cuts[0].relative_error;
  }
  EXPECT_LT(errors[1], errors[0]);
}

TEST(Prune, SharesAreRoundedToTheNearestAndWhatStaysIsSaid) {
  ModelConfig config = config_of(Family::Llama, true);
  config.layers.assign(2, {LayerKind::FullAttention, 4, 2, 6, 40});
  const auto pruned = [&](double heads, double ffn) {
    CausalLM model = CausalLM::random(config, 2);
    TokenizerData tokenizer;
    PruneOptions options;
    options.heads = heads, options.ffn = ffn, options.round_channels = 8;
    const std::vector<std::string> notes = prune(model, tokenizer, text(), options, 1).notes;
    return std::pair(model.config.layers[0], notes.empty() ? std::string() : notes[0]);
  };
  EXPECT_EQ(pruned(0.3, 0.0).first.n_kv_heads, 1);
  EXPECT_EQ(pruned(0.3, 0.0).second, "kept 1 of 2 KV groups in every layer");
  EXPECT_EQ(pruned(0.9, 0.0).first.n_kv_heads, 1);
  EXPECT_EQ(pruned(0.1, 0.0).second, "kept 2 of 2 KV groups in every layer: the share asked for rounds to none");
  EXPECT_EQ(pruned(0.0, 0.25).second, "kept 32 of 40 feed-forward channels in every layer, in multiples of 8");
}

// Finite weights whose products are not.
TEST(Prune, OverflowOnTheTextIsSaidAndNotLeftToTheSolver) {
  for (const int what : {0, 1}) {
    CausalLM model = CausalLM::random(config_of(Family::Llama, true), 2);
    model.parameters.at("blk.1.ffn_up.weight").mul_(1e30);
    model.parameters.at("blk.1.ffn_gate.weight").mul_(1e30);
    TokenizerData tokenizer;
    PruneOptions options;
    if (what == 0)
      options.ffn = 0.3, options.round_channels = 1;
    else
      model.config.layers.push_back(model.config.layers[2]), options.layers = 1;
    if (what == 1) {
      const CausalLM more = CausalLM::random(model.config, 2);
      for (const auto& [name, tensor] : more.parameters) model.parameters.emplace(name, tensor);
    }
    try {
      prune(model, tokenizer, text(), options, 1);
      ADD_FAILURE() << what;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::Input) << error.what();
      EXPECT_NE(std::string(error.what()).find("overflow"), std::string::npos) << error.what();
    }
  }
}

TEST(Prune, ThreadsChangeNoBitAndLayersGo) {
  CausalLM a = CausalLM::random(config_of(Family::Llama, true), 2), b = a.clone();
  TokenizerData tokenizer;
  PruneOptions options;
  options.ffn = 0.25, options.round_channels = 8;
  prune(a, tokenizer, text(), options, 1);
  prune(b, tokenizer, text(), options, 2);
  for (const auto& [name, tensor] : a.parameters) EXPECT_TRUE(tensor.equal(b.parameters.at(name))) << name;
  options = {};
  options.layers = 3;
  EXPECT_THROW(prune(a, tokenizer, text(), options, 1), Error);
}

}  // namespace
}  // namespace attar
