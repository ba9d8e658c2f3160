#include "quantize/quantize.h"

#include <ATen/core/Tensor.h>
#include <gtest/gtest.h>

#include "runtime/base/error.h"
#include "tests/quantize/smollm2_config.h"

namespace attar {
namespace {

// 65504 is the largest F16, and the scale of a block of Q8_0 is one of them times 127.
TEST(Quantize, ValuesTooLargeForATypeAreRefused) {
  ModelConfig config = smollm2();
  config.vocab_size = 64, config.width = 64;
  config.layers.assign(1, {LayerKind::FullAttention, 2, 1, 32, 64});
  for (const auto& [to, value] : {std::pair("F16", 1e5f), std::pair("Q8_0", 1e8f), std::pair("Q4_K", 1e9f)}) {
    CausalLM model = CausalLM::random(config, 1);
    model.parameters.at("blk.0.ffn_up.weight").mutable_data_ptr<float>()[70] = value;
    QuantizeOptions options;
    options.to = to;
    try {
      quantize(model, plan_quantization(config, options, {}), {}, 1);
      ADD_FAILURE() << to;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::Input);
      EXPECT_NE(std::string(error.what()).find("blk.0.ffn_up.weight"), std::string::npos);
      EXPECT_NE(std::string(error.what()).find("too large for "), std::string::npos) << error.what();
    }
  }
}

ModelConfig tiny_llama() {
  ModelConfig config = smollm2();
  config.vocab_size = 64, config.width = 256;
  config.layers.assign(2, {LayerKind::FullAttention, 8, 4, 32, 256});
  return config;
}

CausalLM with_values(const std::string& tensor, float value) {
  CausalLM model = CausalLM::random(tiny_llama(), 1);
  at::Tensor& weights = model.parameters.at(tensor);
  auto* data = weights.mutable_data_ptr<float>();
  for (int64_t i = 0; i < weights.numel(); ++i) data[i] = i % 3 == 0 ? value : -value;
  return model;
}

// F16, also inside blocks, ends at 6e-8: below, every code would be 0, and nothing would say so.
TEST(Quantize, ValuesTooSmallForATypeFallBackToF32AndAreListed) {
  const std::string name = "blk.1.ffn_up.weight";
  for (const char* to :
       {"F16",  "Q4_0", "Q4_1",   "Q5_0", "Q5_1",  "Q8_0",  "IQ4_NL", "Q4_K",  "Q5_K",  "Q6_K",    "Q4_K_M",
        "Q2_K", "Q3_K", "IQ4_XS", "Q2_0", "TQ1_0", "TQ2_0", "Q1_0",   "NVFP4", "IQ3_S", "IQ2_XXS", "IQ1_M"})
    for (const float value : {5e-10f, 1e-40f}) {
      QuantizeOptions options;
      options.to = to;
      const CausalLM model = with_values(name, value);
      const QuantizePlan plan = plan_quantization(model.config, options, {});
      const QuantizedModel quantized = quantize(model, plan, {}, 1);
      const QuantizedTensor& tensor = quantized.tensors.at(name);
      EXPECT_EQ(tensor.type, TensorType::F32) << to;
      EXPECT_EQ(tensor.relative_error, 0.0) << to;
      ASSERT_EQ(quantized.plan.fallbacks.size(), plan.fallbacks.size() + 1) << to;
      const std::string line = quantized.plan.fallback_lines().back();
      EXPECT_NE(line.find(name + ": "), std::string::npos) << line;
      EXPECT_NE(line.find("-> F32 (values too small for it: 100 % of their energy lost)"), std::string::npos) << line;
      EXPECT_GT(quantized.plan.tensor_bytes(), plan.tensor_bytes());
    }
}

// Scales of one byte end where F16 would be infinite: what is lost then is not small.
TEST(Quantize, ValuesBeyondTheScalesOfAByteAreCalledLarge) {
  const std::string name = "blk.1.ffn_up.weight";
  const auto quantized = [&](const char* to, float outlier) {
    CausalLM model = CausalLM::random(tiny_llama(), 1);
    model.parameters.at(name).mutable_data_ptr<float>()[70] = outlier;
    QuantizeOptions options;
    options.to = to;
    return quantize(model, plan_quantization(model.config, options, {}), {}, 1);
  };
  const QuantizedModel large = quantized("NVFP4", 1e6f);
  ASSERT_EQ(large.plan.fallbacks.size(), 1u);
  EXPECT_NE(large.plan.fallback_lines()[0].find(name + ": NVFP4 -> F32 (values too large for it"), std::string::npos)
      << large.plan.fallback_lines()[0];
  const QuantizedModel held = quantized("MXFP4", 1e30f);  // a power of two holds it, though f32 not its square
  EXPECT_TRUE(held.plan.fallbacks.empty()) << held.plan.fallback_lines()[0];
  EXPECT_LT(held.tensors.at(name).relative_error, 0.05);
}

TEST(Quantize, SmallValuesThatATypeHoldsKeepIt) {
  for (const auto& [to, value] :
       {std::pair("F16", 1e-6f), std::pair("BF16", 1e-30f), std::pair("F32", 1e-40f), std::pair("Q8_0", 1e-4f),
        std::pair("Q4_0", 1e-5f), std::pair("Q4_K", 1e-3f), std::pair("Q6_K", 3e-2f), std::pair("Q8_0", 0.0f)}) {
    QuantizeOptions options;
    options.to = to;
    const QuantizedModel quantized =
        quantize(with_values("blk.1.ffn_up.weight", value), plan_quantization(tiny_llama(), options, {}), {}, 1);
    EXPECT_TRUE(quantized.plan.fallbacks.empty()) << to << " " << quantized.plan.fallback_lines().front();
  }
}

// Of normal weights two bits lose an eighth, three levels a fifth, signs a third: that is no reason to give them up.
TEST(Quantize, WhatFewBitsLoseIsNotAFallback) {
  const CausalLM model = CausalLM::random(tiny_llama(), 1);
  for (const auto& [to, least, most] :
       {std::tuple("Q2_K", 0.05, 0.08), std::tuple("Q2_0", 0.11, 0.13), std::tuple("TQ2_0", 0.17, 0.2),
        std::tuple("TQ1_0", 0.17, 0.2), std::tuple("Q1_0", 0.33, 0.38), std::tuple("NVFP4", 0.004, 0.02)}) {
    QuantizeOptions options;
    options.to = to;
    const QuantizedModel quantized = quantize(model, plan_quantization(model.config, options, {}), {}, 1);
    EXPECT_TRUE(quantized.plan.fallbacks.empty()) << to << " " << quantized.plan.fallback_lines().front();
    const QuantizedTensor& tensor = quantized.tensors.at("blk.1.ffn_up.weight");
    EXPECT_EQ(tensor.type, find_format(std::string_view(to))->type);
    EXPECT_GT(tensor.relative_error, least) << to;
    EXPECT_LT(tensor.relative_error, most) << to;
  }
}

TEST(Quantize, ATargetSizeWithoutRoomForTheFallbackIsRefused) {
  const CausalLM model = with_values("blk.1.ffn_up.weight", 5e-10f);
  QuantizeOptions options;
  options.target_size = "10MB";
  const QuantizedModel quantized = quantize(model, plan_quantization(model.config, options, {}), {}, 1);
  EXPECT_LE(quantized.plan.tensor_bytes(), 10'000'000u);
  ASSERT_EQ(quantized.plan.fallbacks.size(), 1u);
  QuantizeOptions smallest;
  smallest.to = "IQ4_NL";
  const std::string bytes = std::to_string(plan_quantization(model.config, smallest, {}).tensor_bytes());
  options.target_size = bytes + "B";
  try {
    quantize(model, plan_quantization(model.config, options, {}), {}, 1);
    FAIL();
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("blk.1.ffn_up.weight"), std::string::npos) << error.what();
    EXPECT_NE(std::string(error.what()).find(bytes + " bytes"), std::string::npos) << error.what();
  }
}

TEST(Quantize, QueryKeyAndValueOfOneTensorFallBackTogether) {
  QuantizeOptions options;
  options.to = "Q8_0";
  const CausalLM model = with_values("blk.1.attn_k.weight", 5e-10f);
  const QuantizedModel quantized =
      quantize(model, plan_quantization(model.config, options, {.fused_qkv = true}), {}, 1);
  for (const char* part : {"q", "k", "v"}) {
    EXPECT_EQ(quantized.tensors.at("blk.1.attn_" + std::string(part) + ".weight").type, TensorType::F32) << part;
    EXPECT_EQ(quantized.tensors.at("blk.0.attn_" + std::string(part) + ".weight").type, TensorType::Q8_0) << part;
  }
  EXPECT_EQ(quantized.plan.fallbacks.size(), 3u);
}

// One input that is a million times louder than the others says nothing about which of those matter.
TEST(Quantize, ALoudInputLeavesTheOthersTheirImportance) {
  ModelConfig config = smollm2();
  config.vocab_size = 64, config.width = 64;
  config.layers.assign(1, {LayerKind::FullAttention, 2, 1, 32, 64});
  const CausalLM model = CausalLM::random(config, 1);
  QuantizeOptions options;
  options.to = "Q4_0";
  const QuantizePlan plan = plan_quantization(config, options, {});
  const auto second_blocks = [&](float loudest) {
    std::vector<float> importance(64);
    for (size_t j = 0; j < 64; ++j) importance[j] = j % 3 == 0 ? 1.0f : 0.01f;
    importance[5] = loudest;
    const QuantizedTensor& tensor =
        quantize(model, plan, {{"blk.0.ffn_up.weight", importance}}, 1).tensors.at("blk.0.ffn_up.weight");
    std::vector<std::byte> blocks;  // columns 32..63 of each row, 18 bytes
    for (size_t row = 0; row < 64; ++row)
      blocks.insert(blocks.end(), &tensor.bytes[row * 36 + 18], &tensor.bytes[row * 36 + 18] + 18);
    return blocks;
  };
  EXPECT_EQ(second_blocks(1.0f), second_blocks(1e6f));
}

}  // namespace
}  // namespace attar
