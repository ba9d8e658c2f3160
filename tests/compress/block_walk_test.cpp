#include "compress/block_walk.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros_like.h>
#include <c10/core/GradMode.h>
#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <string>

#include "compress/precision.h"
#include "compress/token_dataset.h"
#include "tests/compress/counted_memory.h"
#include "tests/compress/uneven_model.h"

namespace attar {
namespace {

using Key = std::pair<int64_t, LinearGroup>;

constexpr int64_t kWide = 300;  // feed-forward channels: wider than a panel of the products

// Eleven batches: more than a wave holds.
std::vector<TokenBatch> batches() {
  return batches_in_order(uneven_text(11, 20), 64, 30);
}

WalkOptions all_groups(GroupVisit::Kind kind) {
  WalkOptions options{.visits = {}, .threads = 2};
  for (GroupVisit& visit : options.visits) visit = {.kind = kind, .gram = true, .target = false, .drift = true};
  for (const LinearGroup group : {LinearGroup::AttentionOutput, LinearGroup::Down})
    options.visits[static_cast<size_t>(group)].target = true;
  return options;
}

// Everything a walk should have measured, from nothing: the whole model forward to the group, batch by batch.
LinearStats stats_reference(const CausalLM& model, const CausalLM& whole, int64_t layer, LinearGroup group) {
  const bool ends_half = group == LinearGroup::AttentionOutput || group == LinearGroup::Down;
  const auto hidden_of = [&](const CausalLM& m, const TokenBatch& batch) {
    at::Tensor hidden = embed(m, batch);
    for (int64_t l = 0; l < layer; ++l) hidden = forward_block(m, l, hidden, batch);
    if (group == LinearGroup::GateUp || group == LinearGroup::Down) {
      const LinearGroup first = LinearGroup::AttentionOutput;
      hidden = add_output(m, layer, first, hidden,
                          group_output(m, layer, first, group_input(m, layer, first, batch, hidden)));
    }
    return hidden;
  };
  LinearStats stats;
  const auto add = [](at::Tensor& sum, const at::Tensor& by) { sum = sum.defined() ? sum + by : by; };
  for (const TokenBatch& batch : batches()) {
    const at::Tensor hidden = hidden_of(model, batch), whole_hidden = hidden_of(whole, batch);
    const at::Tensor x = group_input(model, layer, group, batch, hidden).to(at::kDouble);
    const at::Tensor whole_x = group_input(whole, layer, group, batch, whole_hidden);
    const at::Tensor norms = at::linalg_vector_norm(x, 2, at::IntArrayRef{1}, true);
    const at::Tensor limit = norms.median() * std::sqrt(kLoudest);
    const at::Tensor factors = at::where(norms.gt(limit), limit / norms, 1.0), capped = x * factors;
    stats.tokens += x.size(0);
    add(stats.gram, at::mm(capped.t(), capped));
    add(stats.input_drift, at::mm(((whole_x - x) * factors).t(), capped));
    if (!ends_half) continue;
    if (!traits(model.config.family).sandwich_norms)  // where the linear adds to it itself
      add(stats.stream_drift, at::mm(((whole_hidden - hidden).to(at::kDouble) * factors).t(), capped));
    const at::Tensor y = group_output(whole, layer, group, whole_x).to(at::kDouble) * factors;
    add(stats.target, at::mm(y.t(), capped));
    stats.target_squares += y.square().sum().item<double>();
  }
  stats.sum_squares = stats.gram.diagonal().clone();
  return stats;
}

void expect_close(const at::Tensor& a, const at::Tensor& b, const std::string& what) {
  ASSERT_EQ(a.sizes(), b.sizes()) << what;
  EXPECT_LE((a - b).abs().max().item<double>(), 1e-5 * b.abs().max().item<double>()) << what;  // products are f32
}

void expect_alike(const LinearStats& a, const LinearStats& b, int64_t layer, LinearGroup group) {
  const std::string where = std::to_string(layer) + "." + std::to_string(static_cast<int>(group));
  EXPECT_EQ(a.tokens, b.tokens) << where;
  expect_close(a.sum_squares, b.sum_squares, where);
  expect_close(a.gram, b.gram, where);
  // What bf16 adds to the rounding of f32 is a share of the drift itself: it rounds drift, inputs and product.
  const bool bf16 = find_precision("auto") == Precision::Bf16;
  const auto expect_drift = [&](const at::Tensor& one,
                                const at::Tensor& other) {  // beside inputs, of which f32 is kept
    ASSERT_EQ(one.sizes(), other.sizes()) << where;
    const double limit = 1e-5 * b.gram.abs().max().item<double>(), by_bf16 = bf16 ? 0x1p-8 : 0.0;
    EXPECT_LE((one - other).abs().max().item<double>(), limit + by_bf16 * other.abs().max().item<double>()) << where;
    EXPECT_LE((one - other).norm().item<double>(),
              limit * std::sqrt(static_cast<double>(one.numel())) + by_bf16 * other.norm().item<double>())
        << where;
  };
  expect_drift(a.input_drift, b.input_drift);
  ASSERT_EQ(a.stream_drift.defined(), b.stream_drift.defined()) << where;
  if (b.stream_drift.defined()) expect_drift(a.stream_drift, b.stream_drift);
  ASSERT_EQ(a.target.defined(), b.target.defined()) << where;
  if (!a.target.defined()) return;
  expect_close(a.target, b.target, where);
  EXPECT_NEAR(a.target_squares, b.target_squares, 1e-5 * b.target_squares) << where;
}

void keep_first(CausalLM& model, int64_t layer, Role role, int64_t dimension, int64_t count) {
  at::Tensor& tensor = model.parameters.at(tensor_name(layer, role));
  tensor = tensor.narrow(dimension, 0, count).clone();
}

// Changes every group in another way: values in place, new tensors, narrower inputs.
void change(CausalLM& model, int64_t layer, LinearGroup group) {
  LayerConfig& config = model.config.layers[static_cast<size_t>(layer)];
  if (group == LinearGroup::AttentionOutput && config.n_kv_heads > 1) {
    const int64_t heads = config.n_heads / config.n_kv_heads;
    keep_first(model, layer, Role::AttentionOutput, 1, heads * config.head_dim);
    keep_first(model, layer, Role::Query, 0, heads * config.head_dim);
    for (const Role role : {Role::Key, Role::Value}) keep_first(model, layer, role, 0, config.head_dim);
    config.n_heads = heads, config.n_kv_heads = 1;
  } else if (group == LinearGroup::Down) {
    config.ffn_width -= 9;
    keep_first(model, layer, Role::Down, 1, config.ffn_width);
    for (const Role role : {Role::Gate, Role::Up}) keep_first(model, layer, role, 0, config.ffn_width);
  } else if (group != LinearGroup::Head) {
    for (const Role role : group_roles(model.config, group)) model.parameters.at(tensor_name(layer, role)).mul_(1.5);
  }
}

// The sequential property, the head, narrowing and the full-precision stream: each group's statistics are those of the
// model as it is then, and its targets those of the model as it was.
TEST(WalkBlocks, MeasuresTheModelAsItIsBesideTheModelAsItWas) {
  const c10::NoGradGuard no_grad;
  for (const Family family : {Family::Llama, Family::Qwen3, Family::Gemma3})
    for (const bool tied : {true, false}) {
      CausalLM model = CausalLM::random(uneven_config(family, tied, kWide), 2);
      const CausalLM whole = model.clone();
      std::vector<Key> seen;
      const auto visit = [&](int64_t layer, LinearGroup group, const LinearStats& stats) {
        seen.emplace_back(layer, group);
        expect_alike(stats, stats_reference(model, whole, layer, group), layer, group);
        change(model, layer, group);
      };
      walk_blocks(model, batches(), all_groups(GroupVisit::Change), visit, "test");
      EXPECT_EQ(seen.size(), 13u);
      EXPECT_EQ(seen.back(), Key(3, LinearGroup::Head));
      EXPECT_EQ(model.config.layers[2].ffn_width, 291);
    }
}

std::map<Key, LinearStats> recorded(CausalLM& model, const WalkOptions& options) {
  std::map<Key, LinearStats> all;
  walk_blocks(
      model, batches(), options,
      [&](int64_t layer, LinearGroup group, const LinearStats& stats) {
        all[{layer, group}] = stats;
      },
      "test");
  return all;
}

TEST(WalkBlocks, LookingIsChangingNothingAndThreadsChangeNoBit) {
  CausalLM model = CausalLM::random(uneven_config(Family::Llama, true, kWide), 2);
  const std::map<Key, LinearStats> expected = recorded(model, all_groups(GroupVisit::Change));
  for (const int threads : {1, 3}) {
    WalkOptions options = all_groups(GroupVisit::Look);
    options.threads = threads;
    for (const auto& [key, stats] : recorded(model, options)) {
      EXPECT_TRUE(stats.gram.equal(expected.at(key).gram));
      EXPECT_TRUE(stats.sum_squares.equal(expected.at(key).sum_squares));
      EXPECT_TRUE(stats.input_drift.equal(expected.at(key).input_drift));
      EXPECT_TRUE(!stats.target.defined() || stats.target.equal(expected.at(key).target));
    }
  }
  for (const auto& [key, stats] : expected)  // nothing changed, so the target is what the weights give
    if (stats.target.defined()) {
      const Role role = group_roles(model.config, key.second).front();
      const at::Tensor weight = model.block_parameter(key.first, role).to(at::kDouble);
      expect_close(stats.target, at::mm(weight, stats.gram), tensor_name(key.first, role));
    }
}

TEST(WalkBlocks, GroupsThatAreNotVisitedArePassed) {
  CausalLM model = CausalLM::random(uneven_config(Family::Qwen2, true, kWide), 2);
  const std::map<Key, LinearStats> all = recorded(model, all_groups(GroupVisit::Look));
  WalkOptions options{.visits = {}, .threads = 1};
  options.visits[static_cast<size_t>(LinearGroup::Down)] = {.kind = GroupVisit::Look, .gram = true, .target = true};
  const std::map<Key, LinearStats> some = recorded(model, options);
  EXPECT_EQ(some.size(), 3u);
  for (const auto& [key, stats] : some) {
    EXPECT_TRUE(stats.gram.equal(all.at(key).gram));
    EXPECT_TRUE(stats.target.equal(all.at(key).target));
  }
}

// A visitor that changes each linear as its group comes: what later groups are given is the same to the bit.
TEST(WalkBlocks, KeptInputsChangeNoBit) {
  const auto walked = [](bool keeps) {
    CausalLM model = CausalLM::random(uneven_config(Family::Llama, true, kWide), 2);
    WalkOptions options = all_groups(GroupVisit::Change);
    for (GroupVisit& visit : options.visits) visit.keeps_inputs = keeps;
    std::map<Key, LinearStats> all;
    const auto change = [&](int64_t layer, LinearGroup group, const LinearStats& stats) {
      all[{layer, group}] = stats;
      for (const Role role : group_roles(model.config, group))
        if (group != LinearGroup::Head) {
          at::Tensor& weight = model.parameters.at(tensor_name(layer, role));
          weight = (weight * 16.0).round() / 16.0;
        }
    };
    walk_blocks(model, batches(), options, change, "test");
    return all;
  };
  const std::map<Key, LinearStats> kept = walked(true), made = walked(false);
  for (const auto& [key, stats] : made) {
    EXPECT_TRUE(stats.gram.equal(kept.at(key).gram));
    EXPECT_TRUE(stats.input_drift.equal(kept.at(key).input_drift));
    EXPECT_TRUE(!stats.target.defined() || stats.target.equal(kept.at(key).target));
  }
}

// A layer that changes once more behind its groups: it is given both streams, and what follows sees it so.
TEST(WalkBlocks, ALayerMayBeRevisedAsAWhole) {
  const c10::NoGradGuard no_grad;
  for (const Family family : {Family::Llama, Family::Gemma3}) {
    CausalLM model = CausalLM::random(uneven_config(family, true, kWide), 2);
    const CausalLM whole = model.clone();
    const std::vector<TokenBatch> all = batches();
    WalkOptions options = all_groups(GroupVisit::Change);
    for (GroupVisit& visit : options.visits) visit.keeps_inputs = true;
    int64_t revised = 0;
    options.revise = [&](int64_t layer, const WalkedLayer& walked) {
      EXPECT_EQ(layer, revised++);
      ASSERT_EQ(walked.batches.size(), all.size());
      for (size_t b = 0; b < all.size(); ++b) {
        at::Tensor before = embed(model, all[b]), behind = embed(whole, all[b]);
        for (int64_t l = 0; l < layer; ++l) before = forward_block(model, l, before, all[b]);
        for (int64_t l = 0; l <= layer; ++l) behind = forward_block(whole, l, behind, all[b]);
        expect_close(walked.before[b], before, "before");
        expect_close(walked.whole[b], behind, "whole");
      }
      for (const Role role : {Role::Query, Role::Down})
        EXPECT_TRUE(walked.original.block_parameter(layer, role).equal(whole.block_parameter(layer, role)));
      model.parameters.at(tensor_name(layer, Role::Query)).mul_(0.5);
      model.parameters.at(tensor_name(layer, Role::Up)).mul_(1.5);
    };
    const auto visit = [&](int64_t layer, LinearGroup group, const LinearStats& stats) {
      expect_alike(stats, stats_reference(model, whole, layer, group), layer, group);
      if (group == LinearGroup::Head) return;
      for (const Role role : group_roles(model.config, group)) model.parameters.at(tensor_name(layer, role)).mul_(0.9);
    };
    walk_blocks(model, all, options, visit, "test");
    EXPECT_EQ(revised, 3);
  }
}

// A norm's weight moves into the linears behind it: what they are given changes, what comes after does not.
TEST(WalkBlocks, ANormMayBeFoldedIntoTheWeights) {
  const c10::NoGradGuard no_grad;
  CausalLM model = CausalLM::random(uneven_config(Family::Llama, false, kWide), 2);
  for (auto& [name, tensor] : model.parameters)
    if (name.ends_with("norm.weight")) tensor.copy_(at::ones_like(tensor) + 0.5 * tensor.cumsum(0).sin());
  CausalLM folded = model.clone();
  const at::Tensor before = logits(model, batches()[0]);
  const std::map<Key, LinearStats> expected = recorded(model, all_groups(GroupVisit::Look));
  const auto fold = [&](int64_t layer, LinearGroup group, const LinearStats& stats) {
    expect_alike(stats, expected.at({layer, group}), layer, group);
    if (group == LinearGroup::AttentionOutput || group == LinearGroup::Down) return;
    const Role norm = group == LinearGroup::Head     ? Role::OutputNorm
                      : group == LinearGroup::GateUp ? Role::FfnNorm
                                                     : Role::AttentionNorm;
    at::Tensor& gamma = folded.parameters.at(tensor_name(layer, norm));
    for (const Role role : group_roles(folded.config, group)) folded.parameters.at(tensor_name(layer, role)) *= gamma;
    gamma = at::ones_like(gamma);
  };
  walk_blocks(folded, batches(), all_groups(GroupVisit::Change), fold, "test");
  expect_close(logits(folded, batches()[0]), before, "logits");
}

TEST(GroupInput, MayBeAskedForTwice) {
  const CausalLM model = CausalLM::random(uneven_config(Family::Gemma3, true, kWide), 2);
  const TokenBatch batch = batches()[0];
  const at::Tensor hidden = embed(model, batch), copy = hidden.clone();
  for (int group = 0; group < kGroups; ++group) {
    const at::Tensor first = group_input(model, 0, LinearGroup{group}, batch, hidden);
    EXPECT_TRUE(group_input(model, 0, LinearGroup{group}, batch, hidden).equal(first)) << group;
  }
  EXPECT_TRUE(hidden.equal(copy));
}

// One token of a window can carry more energy than all others: a first token that gives its layer a massive activation.
TEST(WalkBlocks, ALoudTokenIsTurnedDown) {
  const c10::NoGradGuard no_grad;
  CausalLM model = CausalLM::random(uneven_config(Family::Llama, true, kWide), 2);
  model.parameters.at("token_embd.weight")[7].zero_()[0] = 100.0;
  for (const char* name : {"blk.0.ffn_up.weight", "blk.0.ffn_gate.weight"})
    model.parameters.at(name).select(1, 0).add_(20.0);
  double whole = 0.0;  // energy of what goes into the first down projection
  for (const TokenBatch& batch : batches()) {
    const LinearGroup first = LinearGroup::AttentionOutput;
    const at::Tensor hidden = embed(model, batch);
    const at::Tensor middle =
        add_output(model, 0, first, hidden, group_output(model, 0, first, group_input(model, 0, first, batch, hidden)));
    whole += group_input(model, 0, LinearGroup::Down, batch, middle).square().sum().item<double>();
  }
  const std::map<Key, LinearStats> all = recorded(model, all_groups(GroupVisit::Look));
  const LinearStats& down = all.at({0, LinearGroup::Down});
  EXPECT_LT(down.sum_squares.sum().item<double>(), 0.5 * whole);
  for (const auto& [key, stats] : all)
    expect_alike(stats, stats_reference(model, model, key.first, key.second), key.first, key.second);
}

// Memory does not grow with the number of batches beyond the two streams of hidden states.
TEST(WalkBlocks, PeakMemoryIsTwoStreamsAndAFewGrams) {
  ModelConfig config = uneven_config(Family::Llama, true, kWide);
  config.layers.assign(2, {LayerKind::FullAttention, 3, 1, 10, 512});
  CausalLM model = CausalLM::random(config, 2);
  const auto peak_of = [&](int n_batches) {
    std::vector<TokenBatch> many;
    for (int i = 0; i < n_batches; ++i) many.push_back(batches()[static_cast<size_t>(i % 8)]);
    WalkOptions options = all_groups(GroupVisit::Change);
    options.threads = 1;
    const CountedMemory memory;
    walk_blocks(
        model, many, options, [](int64_t, LinearGroup, const LinearStats&) {}, "test");
    return memory.peak_bytes();
  };
  peak_of(8);  // what LibTorch sets up once
  // Two waves at least: all sums are there before the last.
  const int64_t few = peak_of(16), many = peak_of(88), gram = 512 * 512 * 8;
  int64_t tokens = 0;
  for (size_t i = 0; i < 8; ++i) tokens += batches()[i].tokens.size(0);
  const int64_t streams_of_nine = 2 * 9 * tokens * 30 * 4;  // the 72 batches that few does not have
  EXPECT_LE(many, few + streams_of_nine * 11 / 10);
  EXPECT_LE(few, 8 * gram);
}

}  // namespace
}  // namespace attar
