#include "distill/pass/training_pass.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/zeros_like.h>
#include <c10/core/GradMode.h>
#include <gtest/gtest.h>

#include "compress/shards.h"
#include "tests/compress/uneven_model.h"
#include "tests/distill/pass/compared_passes.h"
#include "tests/distill/tiny_training.h"

namespace attar {
namespace {

struct Result {
  at::Tensor hidden;
  NamedTensors gradients;
};

Result by_hand(const CausalLM& model, const TokenBatch& batch, Precision precision, int threads) {
  const OwnKernels own;
  const c10::NoGradGuard no_grad;
  Team team(threads);
  const PassWeights weights(model, precision, team);
  TrainingPass pass(weights, team, Keeps::All);
  Result out{.hidden = pass.forward(batch), .gradients = empty_gradients(model)};
  pass.backward(asked(out.hidden), out.gradients);
  return out;
}

Result by_autograd(const CausalLM& model, const TokenBatch& batch) {
  const OwnKernels own;
  const c10::AutoGradMode grad(true);
  CausalLM leaves{model.config, {}};
  for (const auto& [name, tensor] : model.parameters)
    leaves.parameters[name] = tensor.detach().to(at::kDouble).set_requires_grad(true);
  Result out{.hidden = forward_hidden(leaves, batch), .gradients = {}};
  out.hidden.backward(asked(out.hidden).to(out.hidden.scalar_type()));
  for (auto& [name, leaf] : leaves.parameters) {
    const at::Tensor gradient = leaf.grad();
    out.gradients[name] = gradient.defined() ? gradient : at::zeros_like(leaf);
  }
  return out;
}

class TrainingPassTest : public testing::TestWithParam<Family> {};

TEST_P(TrainingPassTest, EqualsAutograd) {
  const CausalLM model = uneven(tiny_config(GetParam()));
  const TokenBatch batch = some_tokens(countable(12), 12);  // more rows than one step of the memory
  const Result got = by_hand(model, batch, Precision::Fp32, 2), expected = by_autograd(model, batch);
  EXPECT_LT(off(got.hidden, expected.hidden), 1e-5);
  for (const auto& [name, gradient] : expected.gradients)
    EXPECT_LT(off(got.gradients.at(name), gradient), 2e-5) << name;
}

TEST_P(TrainingPassTest, LayersOfTheirOwnWidthsAndAHeadApart) {
  const CausalLM model = uneven(uneven_config(GetParam(), false));
  const TokenBatch batch = some_tokens(uneven_text(5, 9), 5);
  const Result got = by_hand(model, batch, Precision::Fp32, 1), expected = by_autograd(model, batch);
  EXPECT_LT(off(got.hidden, expected.hidden), 1e-5);
  for (const auto& [name, gradient] : expected.gradients)
    EXPECT_LT(off(got.gradients.at(name), gradient), 2e-5) << name;
}

// A model that has its layers alone, from a stream that is given.
TEST_P(TrainingPassTest, LayersAloneEqualAutograd) {
  CausalLM model = uneven(tiny_config(GetParam()));
  const TokenBatch batch = some_tokens(countable(12), 12);
  const at::Tensor stream = embed(model, batch);
  for (const Role role : {Role::Embedding, Role::OutputNorm}) model.parameters.erase(tensor_name(0, role));
  const OwnKernels own;
  Team team(2);
  const PassWeights weights(model, Precision::Fp32, team);
  TrainingPass pass(weights, team, Keeps::All);
  NamedTensors gradients = empty_gradients(model);
  const at::Tensor behind = pass.forward_layers(batch, stream);
  at::Tensor expected = stream.to(at::kDouble);
  CausalLM leaves{model.config, {}};
  {
    const c10::AutoGradMode grad(true);
    for (const auto& [name, tensor] : model.parameters)
      leaves.parameters[name] = tensor.detach().to(at::kDouble).set_requires_grad(true);
    for (int64_t layer = 0; layer < model.config.n_layers(); ++layer)
      expected = forward_block(leaves, layer, expected, batch);
    expected.backward(asked(expected).to(at::kDouble));
  }
  EXPECT_LT(off(behind, expected), 1e-5);
  pass.backward_layers(asked(behind), gradients);
  for (const auto& [name, leaf] : leaves.parameters) EXPECT_LT(off(gradients.at(name), leaf.grad()), 2e-5) << name;
}

TEST_P(TrainingPassTest, Bf16IsNear) {
  const CausalLM model = uneven(tiny_config(GetParam()));
  const TokenBatch batch = some_tokens(countable(5), 5);
  const Result got = by_hand(model, batch, Precision::Bf16, 2), expected = by_autograd(model, batch);
  EXPECT_LT(off(got.hidden, expected.hidden), 0.03);
  double wrong = 0.0, all = 0.0;
  for (const auto& [name, gradient] : expected.gradients) {
    wrong += (got.gradients.at(name) - gradient).pow(2).sum().item<double>();
    all += gradient.pow(2).sum().item<double>();
  }
  EXPECT_LT(wrong, 0.03 * 0.03 * all);
}

TEST_P(TrainingPassTest, ThreadsChangeNoBit) {
  const CausalLM model = uneven(tiny_config(GetParam()));
  const TokenBatch batch = some_tokens(countable(9), 9);
  for (const Precision precision : {Precision::Fp32, Precision::Bf16}) {
    const Result one = by_hand(model, batch, precision, 1), three = by_hand(model, batch, precision, 3);
    EXPECT_TRUE(at::equal(one.hidden, three.hidden));
    for (const auto& [name, gradient] : one.gradients)
      EXPECT_TRUE(at::equal(gradient, three.gradients.at(name))) << name;
  }
}

// Memory of a longer batch is taken again; what it held must not show. Nor does a tensor that nobody asks for.
TEST_P(TrainingPassTest, LeavesNothingBehind) {
  const OwnKernels own;
  const CausalLM model = uneven(tiny_config(GetParam()));
  const TokenDataset data = countable(20);
  Team team(2);
  const PassWeights weights(model, Precision::Fp32, team);
  TrainingPass pass(weights, team, Keeps::All);
  NamedTensors gradients = empty_gradients(model), again = empty_gradients(model);
  pass.backward(asked(pass.forward(some_tokens(data, 20))), gradients);
  again.erase(tensor_name(1, Role::Up));
  const at::Tensor hidden = pass.forward(some_tokens(data, 3));
  pass.backward(asked(hidden), again);
  const Result alone = by_hand(model, some_tokens(data, 3), Precision::Fp32, 2);
  EXPECT_TRUE(at::equal(hidden, alone.hidden));
  for (const auto& [name, gradient] : again) EXPECT_TRUE(at::equal(gradient, alone.gradients.at(name))) << name;
}

INSTANTIATE_TEST_SUITE_P(Families, TrainingPassTest,
                         testing::Values(Family::Llama, Family::Qwen2, Family::Qwen3, Family::Gemma3));

}  // namespace
}  // namespace attar
