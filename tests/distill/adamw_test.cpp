#include "distill/optimizer/adamw.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/equal.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

namespace attar {
namespace {

at::Tensor filled(const std::vector<float>& values, const std::vector<int64_t>& shape) {
  at::Tensor tensor = at::empty(shape, at::kFloat);
  std::copy(values.begin(), values.end(), tensor.data_ptr<float>());
  return tensor;
}

void expect_values(const at::Tensor& got, const std::vector<double>& expected) {
  ASSERT_EQ(got.numel(), static_cast<int64_t>(expected.size()));
  for (size_t i = 0; i < expected.size(); ++i)
    EXPECT_NEAR(static_cast<double>(got.const_data_ptr<float>()[i]), expected[i], 1e-6) << i;
}

// Golden: torch.optim.AdamW of Python (2.13.0), the matrix with weight_decay 0.1 and the vector with 0; lr 0.01, betas
// (0.9, 0.95), eps 1e-8; gradients (s + 1) * (0.1 -0.2 0.3; -0.4 0.5 1e-4) and (1 - s) * (0.7 -0.05), s = 0, 1, 2.
TEST(AdamW, ThreeStepsAsInPyTorch) {
  std::map<std::string, at::Tensor> parameters{{"matrix", filled({0.5f, -1.0f, 2.0f, 0.25f, 0.0f, -0.75f}, {2, 3})},
                                               {"norm", filled({1.0f, -2.0f}, {2})}};
  AdamWState state;
  for (int s = 0; s < 3; ++s) {
    const auto a = static_cast<float>(s + 1), b = static_cast<float>(1 - s);
    const std::map<std::string, at::Tensor> gradients{
        {"matrix", filled({0.1f * a, -0.2f * a, 0.3f * a, -0.4f * a, 0.5f * a, 1e-4f * a}, {2, 3})},
        {"norm", filled({0.7f * b, -0.05f * b}, {2})}};
    adamw_step(parameters, gradients, state, {0.01, 0.9, 0.95, 1e-8, 0.1}, 1.0, 1);
  }
  expect_values(parameters.at("matrix"), {0.46950611, -0.96800774, 1.9650108, 0.27824616, -0.028995389, -0.77674556});
  expect_values(parameters.at("norm"), {0.98407203, -1.9840721});
}

TEST(AdamW, ScaledGradientsAreClippedGradients) {
  std::map<std::string, at::Tensor> scaled{{"w", filled({1.0f, 2.0f, 3.0f}, {3})}},
      clipped{{"w", filled({1.0f, 2.0f, 3.0f}, {3})}};
  AdamWState a, b;
  adamw_step(scaled, {{"w", filled({4.0f, -8.0f, 2.0f}, {3})}}, a, {0.01, 0.9, 0.95, 1e-8, 0.0}, 0.25, 1);
  adamw_step(clipped, {{"w", filled({1.0f, -2.0f, 0.5f}, {3})}}, b, {0.01, 0.9, 0.95, 1e-8, 0.0}, 1.0, 1);
  EXPECT_TRUE(at::equal(scaled.at("w"), clipped.at("w")));
  EXPECT_TRUE(at::equal(a.second.at("w"), b.second.at("w")));
}

TEST(GlobalNorm, IsOverAllTensorsAndAlikeForAnyThreads) {
  const std::map<std::string, at::Tensor> small{{"a", filled({3.0f}, {1})}, {"b", filled({0.0f, 4.0f}, {1, 2})}};
  EXPECT_DOUBLE_EQ(global_norm(small, 1), 5.0);
  std::map<std::string, at::Tensor> large;
  for (int t = 0; t < 5; ++t) {
    std::vector<float> values;
    for (int i = 0; i < 1001 + t; ++i) values.push_back(std::sin(static_cast<float>(i * (t + 1))));
    large["t" + std::to_string(t)] = filled(values, {1001 + t});
  }
  EXPECT_EQ(global_norm(large, 1), global_norm(large, 2));
}

}  // namespace
}  // namespace attar
