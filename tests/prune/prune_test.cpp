#include "prune/prune.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/diag.h>
#include <ATen/ops/linalg_lstsq.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>
#include <c10/core/GradMode.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "prune/refit.h"
#include "runtime/base/error.h"
#include "tests/compress/counted_memory.h"
#include "tests/compress/normal_tensor.h"
#include "tests/compress/uneven_model.h"

namespace attar {
namespace {

// What a walk measures of inputs x (N, in), where the whole model gives y (N, out).
LinearStats stats_of(const at::Tensor& x, const at::Tensor& y) {
  return {.tokens = x.size(0),
          .sum_squares = x.square().sum(0),
          .gram = at::mm(x.t(), x),
          .target = at::mm(y.t(), x),
          .target_squares = y.square().sum().item<double>()};
}

// Two loud channels that say nearly the same beside two quiet ones. Each of the loud ones alone could go at no cost, so
// scores of single channels let both go, and 0.99 of the output with them.
TEST(CutInputs, OneOfTwoTwinsStays) {
  const at::Tensor own = normal(400, 4, 3);
  at::Tensor x = own.clone();
  x.select(1, 0).mul_(10.0);
  x.select(1, 1).copy_(x.select(1, 0) + 0.1 * own.select(1, 1));
  const at::Tensor weight = at::ones({1, 4});
  const InputCut cut = cut_inputs(weight, stats_of(x, x.sum(1, true)), {.group = 1, .keep = 2});
  EXPECT_EQ(std::count_if(cut.kept.begin(), cut.kept.end(), [](int64_t j) { return j < 2; }), 1);
  EXPECT_NEAR(cut.relative_error, 0.0025, 0.0007);
}

// Groups of inputs: a group whose inputs are sums of another's.
TEST(CutInputs, OneOfTwoTwinGroupsStays) {
  at::Tensor x = normal(400, 12, 5);
  x.narrow(1, 3, 3).copy_(at::mm(x.narrow(1, 0, 3) * 3.0, normal(3, 3, 6)));
  x.narrow(1, 0, 3).mul_(3.0);
  const at::Tensor weight = normal(5, 12, 7).to(at::kFloat), y = at::mm(x, weight.to(at::kDouble).t());
  const InputCut cut = cut_inputs(weight, stats_of(x, y), {.group = 3, .keep = 2});
  ASSERT_EQ(cut.kept.size(), 2u);
  EXPECT_LT(cut.kept[0], 2);
  EXPECT_GE(cut.kept[1], 2);
  EXPECT_EQ(cut.inputs[5].item<int64_t>(), 3 * cut.kept[1] + 2);
}

double squares(const at::Tensor& x) {
  return x.square().sum().item<double>();
}

// Against least squares from nothing. Its damping pulls towards the old weights: rows sqrt(R) under X, none under what
// is missing. The step towards Y is shortened, and the inputs that stay then give best what all of them would.
TEST(CutInputs, FitsTheWholeModelsOutput) {
  const at::Tensor was = normal(200, 16, 11), x = was + 0.7 * normal(200, 16, 12),
                   weight = normal(6, 16, 13).to(at::kFloat).to(at::kDouble);
  const at::Tensor y = at::mm(was, weight.t());
  const InputCut cut = cut_inputs(weight.to(at::kFloat), stats_of(x, y), {.group = 1, .keep = 11, .damping = 0.02});
  const auto fit = [](const at::Tensor& a, const at::Tensor& b) { return std::get<0>(at::linalg_lstsq(a, b)); };
  const at::Tensor root = at::diag((0.02 * x.square().sum(0)).sqrt()), all = at::cat({x, root});
  const at::Tensor missing = y - at::mm(x, weight.t()),
                   step = fit(all, at::cat({missing, at::zeros({16, 6}, at::kDouble)}));
  const double explained = (at::mm(x.t(), missing) * step).sum().item<double>(),
               chance = (squares(missing) - explained) * 16 / (200 - 16);
  ASSERT_GT(explained, 2.0 * chance);
  const at::Tensor best = weight.t() + (1.0 - chance / explained) * step;  // (in, out)
  const at::Tensor expected = fit(all.index_select(1, cut.inputs), at::mm(all, best)).t();
  EXPECT_LE((cut.weight - expected).abs().max().item<double>(), 1e-6);
  const auto left_by = [&](const InputCut& some) {
    return squares(at::mm(x.index_select(1, some.inputs), some.weight.to(at::kDouble).t()) - y);
  };
  EXPECT_NEAR(cut.relative_error, left_by(cut) / squares(y), 1e-6);
  // What the cut inputs alone would have given is another target, and a worse fit.
  const LinearStats own = stats_of(x, at::mm(x, weight.t()));
  EXPECT_GT(left_by(cut_inputs(weight.to(at::kFloat), own, {.group = 1, .keep = 11, .damping = 0.02})),
            1.02 * left_by(cut));
}

// Noise that nothing explains moves no weight: with few tokens a plain fit would follow it.
TEST(CutInputs, FollowsNoNoise) {
  const at::Tensor x = normal(48, 16, 21), weight = normal(6, 16, 22).to(at::kFloat),
                   given = at::mm(x, weight.to(at::kDouble).t()), noise = normal(48, 6, 23);
  const auto moved = [&](const at::Tensor& y) {
    return squares(cut_inputs(weight, stats_of(x, y), {.group = 1, .keep = 16}).weight - weight) /
           squares(weight.to(at::kDouble));
  };
  EXPECT_LT(moved(given + noise), 0.01);
  EXPECT_GT(moved(0.5 * given + 0.1 * noise), 0.2);
}

TokenDataset text() {
  return uneven_text(6, 40);
}

// The sliced model gives what the whole one gives with the removed channels and groups set to zero.
TEST(Prune, SlicedEqualsMasked) {
  const c10::NoGradGuard no_grad;
  for (const Family family : {Family::Llama, Family::Qwen2, Family::Qwen3})
    for (const bool tied : {true, false}) {
      CausalLM sliced = CausalLM::random(uneven_config(family, tied), 2);
      for (auto& [name, tensor] : sliced.parameters)
        if (name.ends_with(".bias")) tensor.copy_(at::arange(tensor.numel(), at::kFloat).mul_(0.01));
      CausalLM masked = sliced.clone();
      TokenizerData tokenizer;
      PruneOptions options;
      options.drop_ffn = 0.3, options.drop_heads = 0.4, options.round_channels = 1, options.refit = false;
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
    CausalLM model = CausalLM::random(uneven_config(Family::Llama, true), 2);
    TokenizerData tokenizer;
    PruneOptions options;
    options.drop_ffn = 0.3, options.round_channels = 1, options.refit = mended;
    errors[mended] = prune(model, tokenizer, text(), options, 1).cuts[0].relative_error;
  }
  EXPECT_LT(errors[1], errors[0]);
}

TEST(Prune, SharesAreRoundedToTheNearestAndWhatStaysIsSaid) {
  ModelConfig config = uneven_config(Family::Llama, true);
  config.layers.assign(2, {LayerKind::FullAttention, 4, 2, 6, 40});
  const auto pruned = [&](double heads, double ffn) {
    CausalLM model = CausalLM::random(config, 2);
    TokenizerData tokenizer;
    PruneOptions options;
    options.drop_heads = heads, options.drop_ffn = ffn, options.round_channels = 8;
    const std::vector<std::string> notes = prune(model, tokenizer, text(), options, 1).notes;
    return std::pair(model.config.layers[0], notes.empty() ? std::string() : notes.back());
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
    CausalLM model = CausalLM::random(uneven_config(Family::Llama, true), 2);
    model.parameters.at("blk.1.ffn_up.weight").mul_(1e30);
    model.parameters.at("blk.1.ffn_gate.weight").mul_(1e30);
    TokenizerData tokenizer;
    PruneOptions options;
    if (what == 0)
      options.drop_ffn = 0.3, options.round_channels = 1;
    else
      model.config.layers.push_back(model.config.layers[2]), options.drop_layers = 1;
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

TEST(Prune, ThreadsChangeNoBit) {
  CausalLM a = CausalLM::random(uneven_config(Family::Llama, true), 2), b = a.clone();
  TokenizerData tokenizer;
  PruneOptions options;
  options.drop_ffn = 0.25, options.drop_heads = 0.4, options.round_channels = 8;
  prune(a, tokenizer, text(), options, 1);
  prune(b, tokenizer, text(), options, 2);
  for (const auto& [name, tensor] : a.parameters) EXPECT_TRUE(tensor.equal(b.parameters.at(name))) << name;
}

// Beside the model: two streams of hidden states, and what a wave of batches and a fit need of the widest linear.
TEST(Prune, PeakMemoryIsTwoStreamsAndEightGrams) {
  ModelConfig config = uneven_config(Family::Llama, true);
  config.context_length = 512;
  config.layers.assign(2, {LayerKind::FullAttention, 3, 1, 10, 1024});
  CausalLM model = CausalLM::random(config, 2);
  TokenDataset data;
  for (int d = 0; d < 20; ++d) {
    TokenDocument document;
    for (int i = 0; i < 512; ++i) document.tokens.push_back((d * 31 + i * i * 7) % 120);
    document.in_loss.assign(document.tokens.size(), 1);
    data.documents.push_back(std::move(document));
  }
  TokenizerData tokenizer;
  PruneOptions options;
  options.drop_ffn = 0.25, options.calibration_tokens = 20000;
  const CountedMemory memory;
  prune(model, tokenizer, data, options, 1);
  const int64_t streams = 2 * 20 * 512 * 30 * 4, gram = 1024 * 1024 * 8;
  EXPECT_LE(memory.peak_bytes(), streams + 8 * gram);
}

TEST(Prune, MissingTokensAreSaid) {
  const auto notes_of = [](double heads, double ffn) {
    CausalLM model = CausalLM::random(uneven_config(Family::Llama, true), 2);
    TokenizerData tokenizer;
    PruneOptions options;
    options.drop_heads = heads, options.drop_ffn = ffn, options.round_channels = 1;
    return prune(model, tokenizer, text(), options, 1).notes;  // 255 tokens
  };
  EXPECT_EQ(
      notes_of(0.0, 0.3)[0],
      "ffn: fitted to the pruned model's own output, on 255 tokens; the whole model's wants 16 for each of the 64 "
      "inputs, 769 more");
  EXPECT_NE(notes_of(0.4, 0.0)[0].find("each of the 24 inputs, 129 more"), std::string::npos);
}

// A model whose layers each do something of their own, but for `quiet` ones, which hardly do anything.
CausalLM with_quiet_layers(ModelConfig config, size_t n_layers, const std::vector<int64_t>& quiet) {
  config.layers.assign(n_layers, {LayerKind::FullAttention, 4, 2, 6, 37});
  if (config.sliding_window > 0)
    for (size_t i = 0; i < n_layers; ++i)
      if (i % 6 != 5) config.layers[i].kind = LayerKind::SlidingAttention;
  CausalLM model = CausalLM::random(config, 2);
  for (int64_t layer = 0; layer < config.n_layers(); ++layer) {
    const bool is_quiet = std::find(quiet.begin(), quiet.end(), layer) != quiet.end();
    // A sandwich norm sets how loud a layer's output is; elsewhere the output's own weights do.
    if (traits(config.family).sandwich_norms)
      for (const Role role : {Role::PostAttentionNorm, Role::PostFfnNorm})
        model.parameters.at(tensor_name(layer, role)).fill_(is_quiet ? -0.99 : 1.0);
    else
      for (const Role role : {Role::AttentionOutput, Role::Down})
        model.parameters.at(tensor_name(layer, role)).mul_(is_quiet ? 0.01 : 10.0);
  }
  return model;
}

// Which layers go, and that what is left are the others, in order and unchanged.
void expect_layers_go(const CausalLM& before, int64_t count, const std::vector<int64_t>& expected) {
  CausalLM model = before.clone();
  TokenizerData tokenizer;
  PruneOptions options;
  options.drop_layers = count;
  std::vector<int64_t> removed = prune(model, tokenizer, text(), options, 2).removed_layers;
  std::sort(removed.begin(), removed.end());
  EXPECT_EQ(removed, expected);
  int64_t now = 0;
  for (int64_t layer = 0; layer < before.config.n_layers(); ++layer) {
    if (std::find(expected.begin(), expected.end(), layer) != expected.end()) continue;
    EXPECT_EQ(model.config.layers[static_cast<size_t>(now)].kind,
              before.config.layers[static_cast<size_t>(layer)].kind);
    for (const TensorSpec& spec : tensor_specs(before.config)) {
      if (spec.layer != layer) continue;
      EXPECT_TRUE(model.block_parameter(now, spec.role).equal(before.parameter(spec.name))) << spec.name;
    }
    ++now;
  }
  EXPECT_EQ(model.config.n_layers(), now);
  EXPECT_EQ(model.parameters.size(), tensor_specs(model.config).size());
}

TEST(Prune, TheLayersThatDoLeastGo) {
  const c10::NoGradGuard no_grad;
  const ModelConfig config = uneven_config(Family::Llama, true);
  expect_layers_go(with_quiet_layers(config, 8, {5}), 1, {5});
  expect_layers_go(with_quiet_layers(config, 8, {3, 5, 6}), 3, {3, 5, 6});
  // The first two and the last stay, however little they do.
  expect_layers_go(with_quiet_layers(config, 8, {0, 1, 4, 7}), 1, {4});
  CausalLM model = with_quiet_layers(config, 3, {});
  TokenizerData tokenizer;
  PruneOptions options;
  options.drop_layers = 1;
  EXPECT_THROW(prune(model, tokenizer, text(), options, 1), Error);
}

// gemma3 loses patterns of five local layers and a global one: the six that do least together, even where another six
// holds the one layer that does least.
TEST(Prune, GemmaLosesTheRightSix) {
  const c10::NoGradGuard no_grad;
  ModelConfig config = uneven_config(Family::Gemma3, true);
  config.sliding_window = 16;
  expect_layers_go(with_quiet_layers(config, 18, {6, 7, 8, 9, 10, 11}), 6, {6, 7, 8, 9, 10, 11});
  expect_layers_go(with_quiet_layers(config, 18, {0, 12, 13, 14, 15, 16, 17}), 6, {12, 13, 14, 15, 16, 17});
  expect_layers_go(with_quiet_layers(config, 18, {0, 1, 2, 3, 4, 5, 12, 13, 14, 15, 16, 17}), 12,
                   {0, 1, 2, 3, 4, 5, 12, 13, 14, 15, 16, 17});
  CausalLM model = with_quiet_layers(config, 18, {});
  TokenizerData tokenizer;
  PruneOptions options;
  options.drop_layers = 4;
  EXPECT_THROW(prune(model, tokenizer, text(), options, 1), Error);
}

}  // namespace
}  // namespace attar
