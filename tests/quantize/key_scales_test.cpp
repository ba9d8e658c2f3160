#include "quantize/measure/key_scales.h"

#include <ATen/TensorOperators.h>
#include <gtest/gtest.h>

#include <cmath>

#include "quantize/quantize.h"
#include "tests/compress/uneven_model.h"

namespace attar {
namespace {

const std::vector<Family> kFamilies{Family::Llama, Family::Qwen2, Family::Qwen3};

CausalLM model_of(Family family) {
  ModelConfig config = uneven_config(family, true);
  config.width = 32;
  config.layers.assign(2, {LayerKind::FullAttention, 4, 2, 8, 64});
  return CausalLM::random(config, 3);
}

std::vector<TokenBatch> key_text() {
  return batches_in_order(uneven_text(20, 40), 64, 128);
}

// The pair (j, j + D / 2) of a head's rows, times `factor`.
void scale_pair(at::Tensor& weight, int64_t head, int64_t head_dim, int64_t j, double factor) {
  for (const int64_t row : {j, j + head_dim / 2}) weight.select(0, head * head_dim + row).mul_(factor);
}

TEST(KeyScales, EvenOutWhatKeysAndQueriesCarry) {
  CausalLM model = model_of(Family::Llama);
  const std::vector<float> before = key_scales(model, key_text(), 2);
  ASSERT_EQ(static_cast<int64_t>(before.size()), model.config.key_count());
  scale_pair(model.parameters.at(tensor_name(1, Role::Key)), 1, 8, 2, 8.0);
  for (const int64_t head : {2, 3}) scale_pair(model.parameters.at(tensor_name(1, Role::Query)), head, 8, 2, 0.125);
  const std::vector<float> after = key_scales(model, key_text(), 2);
  const size_t head = 2 * 8 + 8;  // of layer 1, the second
  for (size_t i = 0; i < head; ++i) EXPECT_FLOAT_EQ(after[i], before[i]);
  const float others = after[head] / before[head];  // scales lie around 1
  for (size_t d = 0; d < 8; ++d)
    EXPECT_NEAR(after[head + d] / before[head + d] / others, d % 4 == 2 ? 8.0 : 1.0, 1e-4) << d;
}

TEST(KeyScales, AreTheSameWithAnyNumberOfThreads) {
  for (const Family family : kFamilies) {
    const CausalLM model = model_of(family);
    const std::vector<float> one = key_scales(model, key_text(), 1);
    EXPECT_EQ(one, key_scales(model, key_text(), 3));
    for (const float scale : one) EXPECT_TRUE(scale > 1.0f / 64.0f && scale < 64.0f);
  }
}

TEST(KeyScales, LeaveADimThatIsAlwaysZero) {
  CausalLM model = model_of(Family::Llama);
  scale_pair(model.parameters.at(tensor_name(0, Role::Key)), 0, 8, 1, 0.0);
  const std::vector<float> scales = key_scales(model, key_text(), 2);
  EXPECT_EQ(scales[1], 1.0f);
  EXPECT_EQ(scales[5], 1.0f);
  for (const float scale : scales) EXPECT_TRUE(scale > 0.0f && std::isfinite(scale));
}

TEST(KeyScales, ArePlannedForInt8WithText) {
  const ModelConfig config = model_of(Family::Llama).config;
  QuantizeOptions options;
  EXPECT_TRUE(planned_config(config, options).key_scales.empty());
  options.kv = "int8";
  EXPECT_EQ(planned_config(config, options).key_scales.size(), 2u * 2u * 8u);
  options.importance = false;
  EXPECT_TRUE(planned_config(config, options).key_scales.empty());
}

}  // namespace
}  // namespace attar
