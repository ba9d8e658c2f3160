#include "distill/optimizer/muon.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/linalg_svdvals.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <cmath>
#include <set>
#include <vector>

#include "runtime/base/random.h"
#include "tests/distill/tiny_training.h"

namespace attar {
namespace {

at::Tensor normal(int64_t rows, int64_t columns, uint64_t seed) {
  const CounterRandom random(seed);
  std::vector<float> values;
  for (int64_t i = 0; i < rows * columns; ++i) {
    double sum = 0.0;
    for (uint64_t j = 0; j < 12; ++j) sum += random.uniform(static_cast<uint64_t>(i) * 12 + j);
    values.push_back(static_cast<float>(sum - 6.0));
  }
  return at::tensor(values).reshape({rows, columns});
}

// Where Jordan's polynomial takes a singular value in five times.
double moved(double s) {
  for (int i = 0; i < 5; ++i) s = 3.4445 * s - 4.7750 * s * s * s + 2.0315 * s * s * s * s * s;
  return s;
}

at::Tensor diagonal(float a, float b) {
  return at::tensor(std::vector<float>{a, 0.0f, 0.0f, b}).reshape({2, 2});
}

TEST(Muon, ADiagonalByHand) {
  const at::Tensor out = nearly_orthogonal(diagonal(3.0f, 4.0f), Precision::Fp32);
  EXPECT_NEAR(out[0][0].item<double>(), moved(0.6), 1e-5);
  EXPECT_NEAR(out[1][1].item<double>(), moved(0.8), 1e-5);
  EXPECT_EQ(out[0][1].item<double>(), 0.0);
}

// Tall, wide, a row, a column: every direction steps by about the same, whatever the gradient's size.
TEST(Muon, SingularValuesAreAboutOne) {
  for (const auto& [rows, columns] : {std::pair<int64_t, int64_t>{24, 40}, {40, 24}, {33, 7}, {1, 9}, {9, 1}})
    for (const double size : {1e-6, 1.0, 1e6}) {
      const at::Tensor x = normal(rows, columns, 3) * size, out = nearly_orthogonal(x, Precision::Fp32);
      ASSERT_EQ(out.sizes(), x.sizes());
      const at::Tensor values = at::linalg_svdvals(out);
      EXPECT_GT(values.min().item<double>(), 0.65) << rows << " " << columns;
      EXPECT_LT(values.max().item<double>(), 1.25) << rows << " " << columns;
      const at::Tensor rounded = nearly_orthogonal(x, Precision::Bf16);
      EXPECT_LT((rounded - out).norm().item<double>(), 0.05 * out.norm().item<double>());
    }
}

TEST(Muon, NothingToLearnFromMovesNothing) {
  EXPECT_TRUE(at::equal(nearly_orthogonal(at::zeros({3, 5}), Precision::Fp32), at::zeros({3, 5})));
}

TEST(Muon, TwoStepsByHand) {
  NamedTensors weights{{"w", diagonal(1.0f, -1.0f)}}, momenta;
  const NamedTensors gradients{{"w", diagonal(6.0f, 8.0f)}};
  muon_step(weights, gradients, momenta, {.learning_rate = 0.1, .momentum = 0.5, .weight_decay = 0.5}, 0.5, 1);
  EXPECT_TRUE(at::equal(momenta.at("w"), diagonal(3.0f, 4.0f)));
  const double step = 0.1 * 0.2 * std::sqrt(2.0);
  double a = 0.95 - step * moved(0.6), b = -0.95 - step * moved(0.8);
  EXPECT_NEAR(weights.at("w")[0][0].item<double>(), a, 1e-6);
  EXPECT_NEAR(weights.at("w")[1][1].item<double>(), b, 1e-6);

  // Momentum 0.5 * (3, 4) + (-4, 2); ahead of it (-4, 2) + 0.5 * (-2.5, 4) = (-5.25, 4).
  const NamedTensors others{{"w", diagonal(-4.0f, 2.0f)}};
  muon_step(weights, others, momenta, {.learning_rate = 0.1, .momentum = 0.5, .weight_decay = 0.0}, 1.0, 1);
  EXPECT_TRUE(at::equal(momenta.at("w"), diagonal(-2.5f, 4.0f)));
  const double norm = std::sqrt(5.25 * 5.25 + 16.0);
  a += step * moved(5.25 / norm), b -= step * moved(4.0 / norm);
  EXPECT_NEAR(weights.at("w")[0][0].item<double>(), a, 1e-6);
  EXPECT_NEAR(weights.at("w")[1][1].item<double>(), b, 1e-6);
}

TEST(Muon, HeadsStepByThemselves) {
  const at::Tensor gradient = normal(12, 7, 4);
  NamedTensors weights{{"q", normal(12, 7, 5)}}, momenta;
  const at::Tensor before = weights.at("q").clone();
  muon_step(weights, {{"q", gradient}}, momenta,
            {.learning_rate = 0.1, .momentum = 0.0, .weight_decay = 0.0, .head_rows = {{"q", 4}}}, 1.0, 2);
  for (int64_t row = 0; row < 12; row += 4) {
    const at::Tensor step =
        nearly_orthogonal(gradient.narrow(0, row, 4), Precision::Fp32) * (0.1 * 0.2 * std::sqrt(7.0));
    const at::Tensor moved = (before - weights.at("q")).narrow(0, row, 4);
    EXPECT_LT((moved - step).abs().max().item<double>(), 1e-6) << row;
  }
}

TEST(Muon, FindsHeadsByNameAndShape) {
  const ModelConfig config = tiny_config(Family::Qwen3);
  const CausalLM model = CausalLM::random(config, 1);
  NamedTensors matrices;
  for (const char* name :
       {"blk.0.attn_q.weight", "blk.1.attn_v.weight", "blk.0.attn_output.weight", "blk.0.ffn_up.weight"})
    matrices[name] = model.parameter(name);
  matrices["blk.1.attn_k.weight.latent"] = model.parameter("blk.1.attn_k.weight");
  matrices["blk.0.attn_k.weight.b"] = at::zeros({model.parameter("blk.0.attn_k.weight").size(0), 3});
  const int64_t rows = config.layers[0].head_dim;
  EXPECT_EQ(muon_head_rows(config, matrices),
            (std::map<std::string, int64_t>{
                {"blk.0.attn_q.weight", rows}, {"blk.1.attn_k.weight.latent", rows}, {"blk.1.attn_v.weight", rows}}));
}

TEST(Muon, ThreadsChangeNoBitAndRatiosScaleTheRate) {
  const auto stepped = [](int threads, double rate, std::map<std::string, double> ratios) {
    NamedTensors weights, gradients, momenta;
    for (int i = 0; i < 5; ++i) {
      weights["w" + std::to_string(i)] = normal(20 + i, 30, 1);
      gradients["w" + std::to_string(i)] = normal(20 + i, 30, 2);
    }
    muon_step(weights, gradients, momenta,
              {.learning_rate = rate, .momentum = 0.9, .weight_decay = 0.1, .learning_rate_ratios = std::move(ratios)},
              1.0, threads);
    return weights;
  };
  const NamedTensors one = stepped(1, 0.02, {}), two = stepped(2, 0.02, {}), ratio = stepped(2, 0.04, {{"w3", 0.5}});
  for (const auto& [name, weights] : one) EXPECT_TRUE(at::equal(weights, two.at(name))) << name;
  EXPECT_TRUE(at::equal(one.at("w3"), ratio.at("w3")));
  EXPECT_FALSE(at::equal(one.at("w4"), ratio.at("w4")));
}

// One layer, widths of 2 and 3: q, k, v, o 2 x 2, gate and up 3 x 2, down 2 x 3; then two heads of one row each.
TEST(Muon, FlopsByHand) {
  ModelConfig config;
  config.vocab_size = 100, config.width = 2;
  config.layers = {{LayerKind::FullAttention, 1, 1, 2, 3}};
  EXPECT_DOUBLE_EQ(muon_flops(config), 5 * (4 * (32 + 16) + 3 * (48 + 16)));
  config.layers = {{LayerKind::FullAttention, 2, 2, 1, 3}};
  EXPECT_DOUBLE_EQ(muon_flops(config), 5 * (3 * 2 * (8 + 2) + (32 + 16) + 3 * (48 + 16)));
}

TEST(Muon, MovesTheMatricesOfTheLayersAlone) {
  CausalLM model = CausalLM::random(tiny_config(Family::Qwen3), 1);
  Reparameterizations reparameterizations;
  reparameterizations["token_embd.weight"].parameters = {{"latent", at::zeros({300, 24})}};
  reparameterizations["blk.1.attn_q.weight"].parameters = {{"latent", at::zeros({24, 24})}, {"d", at::zeros({9})}};
  std::set<std::string> names;
  for (const auto& [name, matrix] : muon_matrices(model.config, trained_tensors(model, reparameterizations)))
    names.insert(name);
  EXPECT_EQ(names.size(), 14u);
  for (const char* name : {"blk.0.attn_k.weight", "blk.1.ffn_down.weight", "blk.1.attn_q.weight.latent"})
    EXPECT_TRUE(names.contains(name)) << name;
  for (const std::string& name : names) EXPECT_EQ(name.rfind("blk.", 0), 0u) << name;
}

}  // namespace
}  // namespace attar
