#include "compress/fisher.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <c10/core/GradMode.h>
#include <gtest/gtest.h>

#include "compress/token_dataset.h"
#include "runtime/base/random.h"
#include "tests/compress/uneven_model.h"

namespace attar {
namespace {

constexpr uint64_t kSeed = 5;

std::vector<TokenBatch> sequences() {
  return batches_in_order(uneven_text(6, 20), 64, 30);
}

// The labels that a sequence draws, from its whole table of probabilities.
at::Tensor labels_of(const at::Tensor& log_probs, uint64_t sequence) {
  const CounterRandom random(kSeed, sequence);
  std::vector<int64_t> labels;
  for (int64_t r = 0; r < log_probs.size(0); ++r) {
    double left = random.uniform(static_cast<uint64_t>(r));
    int64_t label = 0;
    for (; label + 1 < log_probs.size(1); ++label) {
      left -= std::exp(log_probs[r][label].item<double>());
      if (left < 0.0) break;
    }
    labels.push_back(label);
  }
  return at::tensor(labels, at::kLong);
}

// By one backward pass through the whole model.
OutputFisher fisher_reference(const CausalLM& model) {
  OutputFisher total{.outputs = {},
                     .streams = at::zeros({model.config.n_layers(), model.config.width}, at::kDouble),
                     .head = at::zeros({model.config.vocab_size}, at::kDouble),
                     .lookups = at::zeros({model.config.width, model.config.width}, at::kDouble)};
  const std::vector<TokenBatch> all = sequences();
  for (size_t i = 0; i < all.size(); ++i) {
    std::map<std::string, at::Tensor> outputs;
    CausalLM traced = model;
    traced.outputs = &outputs;
    const at::Tensor start = embed(model, all[i]).detach().set_requires_grad(true);
    at::Tensor hidden = start;
    std::vector<at::Tensor> streams;
    for (int64_t layer = 0; layer < model.config.n_layers(); ++layer) {
      hidden = forward_block(traced, layer, hidden, all[i]);
      hidden.retain_grad();
      streams.push_back(hidden);
    }
    for (const auto& [name, output] : outputs) output.retain_grad();
    const at::Tensor log_probs = at::log_softmax(at::mm(final_norm(model, hidden), model.head().t()), 1);
    const at::Tensor labels = labels_of(log_probs.detach(), i);
    (-log_probs.gather(1, labels.unsqueeze(1)).sum()).backward();
    const at::Tensor p = log_probs.detach().exp().to(at::kDouble);
    total.head += (p - p * p).sum(at::IntArrayRef{0});
    for (const auto& [name, output] : outputs) {
      at::Tensor& sum = total.outputs[name];
      const at::Tensor squares = output.grad().to(at::kDouble).square().sum(at::IntArrayRef{0});
      sum = sum.defined() ? sum + squares : squares;
    }
    for (size_t layer = 0; layer < streams.size(); ++layer)
      total.streams.select(0, static_cast<int64_t>(layer))
          .add_(streams[layer].grad().to(at::kDouble).square().sum(at::IntArrayRef{0}));
    const at::Tensor gradient = start.grad().to(at::kDouble);
    total.lookups += at::mm(gradient.t(), gradient);
    total.tokens += all[i].tokens.size(0);
  }
  return total;
}

void expect_near(const at::Tensor& a, const at::Tensor& b, const std::string& what) {
  EXPECT_LT((a - b).norm().item<double>(), 1e-4 * b.norm().item<double>()) << what;  // f32 sums in another order
}

TEST(Fisher, BlockByBlockIsWhatTheWholeGraphSays) {
  for (const Family family : {Family::Llama, Family::Gemma3}) {
    const CausalLM model = CausalLM::random(uneven_config(family, true), 3);
    const OutputFisher found = output_fisher(model, sequences(), kSeed, Precision::Fp32, 2),
                       expected = fisher_reference(model);
    const auto tokens = static_cast<double>(expected.tokens);
    EXPECT_EQ(found.tokens, expected.tokens);
    EXPECT_EQ(found.outputs.size(), 7u * 3u);
    for (const auto& [name, squares] : expected.outputs) expect_near(found.outputs.at(name), squares / tokens, name);
    expect_near(found.streams, expected.streams / tokens, "streams");
    expect_near(found.head, expected.head / tokens, "head");
    expect_near(found.lookups, expected.lookups / tokens, "lookups");
  }
}

// A label that falls on the other side of a rounding changes a small model's numbers, but hardly their sum.
TEST(Fisher, Bf16IsCloseInAll) {
  const CausalLM model = CausalLM::random(uneven_config(Family::Llama, true), 3);
  const auto all_of = [&](Precision precision) {
    double sum = 0.0;
    for (const auto& [name, squares] : output_fisher(model, sequences(), kSeed, precision, 1).outputs)
      sum += squares.sum().item<double>();
    return sum;
  };
  const double exact = all_of(Precision::Fp32), quick = all_of(Precision::Bf16);
  EXPECT_NE(quick, exact);
  EXPECT_NEAR(quick, exact, 0.1 * exact);
}

TEST(Fisher, NoBitDependsOnThreads) {
  const CausalLM model = CausalLM::random(uneven_config(Family::Llama, false), 4);
  const OutputFisher one = output_fisher(model, sequences(), kSeed, Precision::Fp32, 1),
                     two = output_fisher(model, sequences(), kSeed, Precision::Fp32, 2);
  for (const auto& [name, squares] : one.outputs) EXPECT_TRUE(at::equal(squares, two.outputs.at(name))) << name;
  EXPECT_TRUE(at::equal(one.lookups, two.lookups));
  EXPECT_TRUE(at::equal(one.streams, two.streams));
}

}  // namespace
}  // namespace attar
