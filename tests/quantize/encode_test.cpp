#include "quantize/encode.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "quantize/quantize.h"
#include "runtime/base/error.h"
#include "runtime/base/random.h"

namespace attar {
namespace {

std::vector<float> normal_row(size_t n, uint64_t seed) {
  const CounterRandom random(seed);
  std::vector<float> row(n);
  for (size_t i = 0; i < n; ++i)
    for (uint64_t k = 0; k < 12; ++k) row[i] += static_cast<float>(random.uniform(12 * i + k) - 0.5);
  return row;
}

double error_of(const QuantFormat& format, const std::vector<float>& row, const std::vector<float>& weights,
                const std::vector<std::byte>& bytes) {
  std::vector<float> back(row.size());
  format.decode(bytes.data(), static_cast<int64_t>(row.size()) / format.block_size, back.data());
  double error = 0.0;
  for (size_t i = 0; i < row.size(); ++i)
    error += static_cast<double>(weights[i]) * std::pow(static_cast<double>(back[i] - row[i]), 2);
  return error;
}

TEST(EncodeRow, IsNeverWorseThanThePlainEncoderAndSaysItsError) {
  for (const QuantFormat& format : quant_formats()) {
    if (format.encode == nullptr) continue;
    for (uint64_t seed = 0; seed < 8; ++seed) {
      const std::vector<float> row = normal_row(512, seed);
      std::vector<float> weights = normal_row(512, seed + 100);
      for (float& w : weights) w = w * w + 1e-3f;
      const auto size = static_cast<size_t>(format.row_bytes(512));
      std::vector<std::byte> plain(size), searched(size);
      format.encode(row.data(), 512 / format.block_size, plain.data());
      const double said = encode_row(format, row, weights, searched);
      const double own = error_of(format, row, weights, searched), before = error_of(format, row, weights, plain);
      EXPECT_LE(own, before * (1 + 1e-6)) << format.name;
      EXPECT_NEAR(said, own, 1e-6 * (1e-12 + own)) << format.name;
    }
  }
}

// Weighted search on IQ4_NL is well below the plain encoder, and more bits mean less error.
TEST(EncodeRow, GainsAndIsMonotoneInBits) {
  const std::vector<float> row = normal_row(4096, 1), ones(4096, 1.0f);
  const auto searched = [&](TensorType type) {
    const QuantFormat& format = format_of(type);
    std::vector<std::byte> bytes(static_cast<size_t>(format.row_bytes(4096)));
    return encode_row(format, row, ones, bytes);
  };
  const QuantFormat& iq4 = format_of(TensorType::IQ4_NL);
  std::vector<std::byte> plain(static_cast<size_t>(iq4.row_bytes(4096)));
  iq4.encode(row.data(), 4096 / 32, plain.data());
  EXPECT_LT(searched(TensorType::IQ4_NL), 0.9 * error_of(iq4, row, ones, plain));
  EXPECT_LT(searched(TensorType::IQ4_NL), searched(TensorType::Q4_0));
  EXPECT_LT(searched(TensorType::Q5_K), searched(TensorType::Q4_K));
  EXPECT_LT(searched(TensorType::Q6_K), searched(TensorType::Q5_K));
  EXPECT_LT(searched(TensorType::Q8_0), searched(TensorType::Q6_K));
}

TEST(EncodeRow, ZeroAndConstantRows) {
  for (const QuantFormat& format : quant_formats()) {
    if (format.encode == nullptr) continue;
    std::vector<std::byte> bytes(static_cast<size_t>(format.row_bytes(256)));
    EXPECT_NEAR(encode_row(format, std::vector<float>(256, 0.0f), {}, bytes), 0.0, 1e-12) << format.name;
    EXPECT_LT(encode_row(format, std::vector<float>(256, 0.5f), {}, bytes), 256 * 1e-3) << format.name;
  }
}

ModelConfig smollm2() {
  ModelConfig config;
  config.vocab_size = 49152, config.width = 576, config.context_length = 8192;
  config.layers.assign(30, {LayerKind::FullAttention, 9, 3, 64, 1536});
  return config;
}

double plan_megabytes(const std::string& to) {
  QuantizeOptions options;
  options.to = to;
  return static_cast<double>(plan_quantization(smollm2(), options, {}).tensor_bytes()) * 1e-6;
}

// Files that llama-quantize wrote of this model, less the 1.785664 MB that are not tensors: reference "quantization",
// end.
TEST(Plan, ReproducesTheStockSizes) {
  EXPECT_NEAR(plan_megabytes("Q4_K_M"), 105.454336 - 1.785664, 0.001);
  EXPECT_NEAR(plan_megabytes("Q4_K_S"), 102.039808 - 1.785664, 0.001);
  EXPECT_NEAR(plan_megabytes("Q5_K_M"), 112.103680 - 1.785664, 0.001);
  EXPECT_NEAR(plan_megabytes("Q4_0"), 91.892992 - 1.785664, 0.001);
  EXPECT_NEAR(plan_megabytes("IQ4_NL"), 91.727104 - 1.785664, 0.001);
  EXPECT_NEAR(plan_megabytes("Q6_K"), 138.383104 - 1.785664, 0.001);
  EXPECT_NEAR(plan_megabytes("Q8_0"), 144.811264 - 1.785664, 0.001);
  QuantizeOptions options;
  options.to = "Q4_K_M";
  EXPECT_EQ(plan_quantization(smollm2(), options, {}).fallbacks.size(),
            180u);  // tensors whose 576 columns do not divide
}

std::map<std::string, TensorType> types_of(const QuantizePlan& plan) {
  std::map<std::string, TensorType> types;
  for (const PlannedTensor& planned : plan.tensors) types[planned.spec.name] = planned.type;
  return types;
}

// llama_tensor_get_type: with an importance matrix the first eighth of ffn_down gets an offset beside its scale.
TEST(Plan, FirstDownProjectionsOfTheOldTypesUnderImportance) {
  for (const auto& [to, base, first] :
       {std::tuple("Q4_0", TensorType::Q4_0, TensorType::Q4_1), std::tuple("Q5_0", TensorType::Q5_0, TensorType::Q5_1)})
    for (const bool importance : {true, false}) {
      QuantizeOptions options;
      options.to = to, options.importance = importance;
      const auto types = types_of(plan_quantization(smollm2(), options, {}));
      EXPECT_EQ(types.at("blk.2.ffn_down.weight"), importance ? first : base) << to;
      EXPECT_EQ(types.at("blk.3.ffn_down.weight"), base) << to;
      EXPECT_EQ(types.at("blk.0.ffn_up.weight"), base) << to;
    }
}

// Q4_K wants rows of 256: 576 do not divide, so a kept role falls back as it does under --to, and says so.
TEST(Plan, AKeptTypeThatDoesNotDivideFallsBackUnderATargetSize) {
  QuantizeOptions options;
  options.target_size = "110MB", options.keep = {{"query", "Q4_K"}};
  const QuantizePlan plan = plan_quantization(smollm2(), options, {});
  EXPECT_EQ(types_of(plan).at("blk.7.attn_q.weight"), TensorType::Q5_0);
  EXPECT_EQ(plan.fallbacks.size(), 30u);
  EXPECT_LE(plan.tensor_bytes(), 110'000'000u);
}

TEST(Plan, QueryKeyAndValueOfOneTensorShareAType) {
  const PlanTarget fused{.fused_qkv = true};
  const auto alike = [](const QuantizePlan& plan) {
    const auto types = types_of(plan);
    return types.at("blk.0.attn_q.weight") == types.at("blk.0.attn_v.weight") &&
           types.at("blk.0.attn_q.weight") == types.at("blk.0.attn_k.weight");
  };
  bool apart = false;
  for (uint64_t megabytes = 76; megabytes < 150; megabytes += 2) {
    QuantizeOptions options;
    options.target_size = std::to_string(megabytes) + "MB";
    EXPECT_TRUE(alike(plan_quantization(smollm2(), options, fused))) << megabytes;
    apart = apart || !alike(plan_quantization(smollm2(), options, {}));
  }
  EXPECT_TRUE(apart) << "the sizes show nothing when none parts them without the rule";
  for (const char* preset : {"Q4_K_S", "Q4_K_M", "Q5_K_M", "IQ4_NL", "Q4_0"}) {
    QuantizeOptions options;
    options.to = preset;
    EXPECT_TRUE(alike(plan_quantization(smollm2(), options, fused))) << preset;
  }
  QuantizeOptions options;
  options.to = "Q8_0", options.keep = {{"value", "F16"}};
  EXPECT_THROW(plan_quantization(smollm2(), options, fused), Error);
  EXPECT_NO_THROW(plan_quantization(smollm2(), options, {}));
}

TEST(Plan, NeverExceedsTheTargetAndRefusesTheImpossible) {
  QuantizeOptions options;
  for (const uint64_t megabytes : {80, 90, 110, 140, 300}) {
    options.target_size = std::to_string(megabytes) + "MB";
    const uint64_t fixed = 1'700'000;
    EXPECT_LE(plan_quantization(smollm2(), options, {.fixed_bytes = fixed}).tensor_bytes() + fixed,
              megabytes * 1'000'000);
  }
  options.target_size = "10MB";
  EXPECT_THROW(plan_quantization(smollm2(), options, {}), Error);
  options = {};
  options.to = "IQ2_XXS";
  EXPECT_THROW(plan_quantization(smollm2(), options, {}), Error);
  options.to = "Q4_0", options.keep = {{"embeding", "Q8_0"}};
  EXPECT_THROW(plan_quantization(smollm2(), options, {}), Error);
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
    const QuantizedModel quantized = quantize(model, plan, {{"blk.0.ffn_up.weight", importance}}, 1);
    const QuantizedTensor& tensor = quantized.tensors.at("blk.0.ffn_up.weight");
    std::vector<std::byte> blocks;  // columns 32..63 of each row, 18 bytes
    for (size_t row = 0; row < 64; ++row)
      blocks.insert(blocks.end(), &tensor.bytes[row * 36 + 18], &tensor.bytes[row * 36 + 18] + 18);
    return blocks;
  };
  EXPECT_EQ(second_blocks(1.0f), second_blocks(1e6f));
}

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

}  // namespace
}  // namespace attar
