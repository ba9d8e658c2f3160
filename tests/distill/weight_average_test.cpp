#include "distill/optimizer/weight_average.h"

#include <ATen/ops/equal.h>
#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>

#include <vector>

namespace attar {
namespace {

TEST(WeightAverage, KeepsLittleOfItselfAtFirst) {
  EXPECT_DOUBLE_EQ(average_decay(0.999, 0), 0.1);
  EXPECT_DOUBLE_EQ(average_decay(0.999, 8), 0.5);
  EXPECT_DOUBLE_EQ(average_decay(0.999, 1000000), 0.999);
  EXPECT_DOUBLE_EQ(average_decay(0.05, 0), 0.05);
}

TEST(WeightAverage, ByHand) {
  NamedTensors average{{"a", at::tensor(std::vector<float>{1.0f, -2.0f})}, {"b", at::tensor(std::vector<float>{8.0f})}};
  const NamedTensors weights{{"a", at::tensor(std::vector<float>{2.0f, 2.0f})},
                             {"b", at::tensor(std::vector<float>{4.0f})}};
  update_average(average, weights, 0.75, 2);
  EXPECT_TRUE(at::equal(average.at("a"), at::tensor(std::vector<float>{1.25f, -1.0f})));
  EXPECT_TRUE(at::equal(average.at("b"), at::tensor(std::vector<float>{7.0f})));
}

TEST(WeightAverage, ChangesPlacesAndBackToTheBit) {
  NamedTensors a{{"a", at::tensor(std::vector<float>{1.0f, 3.5f})}},
      b{{"a", at::tensor(std::vector<float>{-7.0f, 0.1f})}};
  const at::Tensor shared = a.at("a");
  exchange(a, b, 2);
  EXPECT_TRUE(at::equal(shared, at::tensor(std::vector<float>{-7.0f, 0.1f}))) << "who shares the memory sees it";
  exchange(a, b, 1);
  EXPECT_TRUE(at::equal(shared, at::tensor(std::vector<float>{1.0f, 3.5f})));
  EXPECT_TRUE(at::equal(b.at("a"), at::tensor(std::vector<float>{-7.0f, 0.1f})));
}

}  // namespace
}  // namespace attar
