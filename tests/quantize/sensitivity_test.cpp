#include "quantize/measure/sensitivity.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/log_softmax.h>
#include <gtest/gtest.h>

#include "tests/compress/uneven_model.h"

namespace attar {
namespace {

const std::vector<TensorType> kTypes{TensorType::F16, TensorType::Q8_0, TensorType::Q5_1, TensorType::IQ4_NL,
                                     TensorType::Q2_0};

CausalLM small_model(bool tied) {
  ModelConfig config = uneven_config(Family::Llama, tied, 128);
  config.width = 64;
  config.layers.assign(2, {LayerKind::FullAttention, 4, 2, 16, 128});
  return CausalLM::random(config, 7);
}

std::vector<TokenBatch> sequences() {
  return batches_in_order(uneven_text(30, 40), 64, 64);
}

Sensitivity measured(const CausalLM& model, Rounding rounding, int threads = 2) {
  const Survey survey = take_survey(model, sequences(), threads);
  return measure_sensitivity(model, survey, sequences(), kTypes, rounding, threads);
}

TEST(Sensitivity, FallsWithBitsAndWithFeedback) {
  const CausalLM model = small_model(true);
  const Sensitivity alone = measured(model, Rounding::Alone), fed_back = measured(model, Rounding::FedBack);
  EXPECT_EQ(alone.size(), 1u + 2u * 7u);
  for (const auto& [name, losses] : alone) {
    for (size_t i = 1; i < kTypes.size(); ++i)
      EXPECT_GT(losses.at(kTypes[i]), 1.5 * losses.at(kTypes[i - 1])) << name << " " << format_of(kTypes[i]).name;
    for (const TensorType type : kTypes) EXPECT_LE(fed_back.at(name).at(type), losses.at(type)) << name;
  }
}

// What a quantized model's bytes stand for.
CausalLM decoded(const QuantizedModel& quantized) {
  CausalLM model{quantized.config, {}};
  for (const auto& [name, tensor] : quantized.tensors) {
    at::Tensor values = at::empty(tensor.shape, at::kFloat);
    const QuantFormat& format = format_of(tensor.type);
    format.decode(tensor.bytes.data(), values.numel() / format.block_size, values.mutable_data_ptr<float>());
    model.parameters[name] = values;
  }
  return model;
}

// All tensors' losses together are what rounding all of them does.
TEST(Sensitivity, AddsUpToTheDivergenceOfTheWhole) {
  for (const bool tied : {true, false}) {
    const CausalLM model = small_model(tied);
    double predicted = 0.0;
    for (const auto& [name, losses] : measured(model, Rounding::Alone)) predicted += losses.at(TensorType::IQ4_NL);
    QuantizeOptions options;
    options.to = "IQ4_NL";
    const CausalLM rounded = decoded(quantize(model, plan_quantization(model.config, options, {}), {}, 1));
    double sum = 0.0;
    int64_t tokens = 0;
    for (const TokenBatch& batch : sequences()) {
      const at::Tensor p = at::log_softmax(logits(model, batch), 1), q = at::log_softmax(logits(rounded, batch), 1);
      sum += (p.exp() * (p - q)).sum().item<double>();
      tokens += batch.tokens.size(0);
    }
    const double found = sum / static_cast<double>(tokens);
    EXPECT_GT(predicted, 0.7 * found) << tied;
    EXPECT_LT(predicted, 1.4 * found) << tied;
  }
}

// What a probe measures of a role that does next to nothing is the noise of its sums, which may lie below 0: it would
// pay to round it as much as can be.
TEST(Sensitivity, ARoleThatDoesNothingStillCosts) {
  const CausalLM model = small_model(true);
  double predicted = 0.0;
  for (const char* name : {"blk.0.attn_output.weight", "blk.1.attn_output.weight"})
    model.parameters.at(name).mul_(1e-3);
  const Sensitivity losses = measured(model, Rounding::Alone);
  for (const char* name : {"blk.0.attn_output.weight", "blk.1.attn_output.weight"}) {
    predicted += losses.at(name).at(TensorType::IQ4_NL);
    EXPECT_GT(losses.at(name).at(TensorType::Q2_0), losses.at(name).at(TensorType::IQ4_NL));
  }
  EXPECT_NEAR(predicted, 1e-7, 1e-12);
}

TEST(Sensitivity, NoBitDependsOnThreads) {
  const CausalLM model = small_model(false);
  EXPECT_EQ(measured(model, Rounding::FedBack, 1), measured(model, Rounding::FedBack, 2));
}

// A plan gives bits to where they were measured to count.
TEST(Sensitivity, APlanFollowsIt) {
  const CausalLM model = small_model(true);
  Sensitivity losses = measured(model, Rounding::Alone);
  for (auto& [type, loss] : losses.at("blk.1.ffn_up.weight")) loss *= 1e4;
  QuantizeOptions options;
  options.target_bpw = 8.0;
  const QuantizePlan plan = plan_quantization(model.config, options, {}, &losses);
  std::map<std::string, double> bits;
  for (const PlannedTensor& planned : plan.tensors) bits[planned.spec.name] = format_of(planned.type).bits_per_weight();
  EXPECT_GT(bits.at("blk.1.ffn_up.weight"), bits.at("blk.1.ffn_gate.weight"));
  EXPECT_TRUE(plan.predicted_kl.has_value());
}

// A type that is kept loses what it was measured to lose.
TEST(Sensitivity, WhatIsKeptCountsInThePrediction) {
  const CausalLM model = small_model(true);
  const Sensitivity losses = measured(model, Rounding::Alone);
  QuantizeOptions options;
  options.target_bpw = 16.5;
  const double free = *plan_quantization(model.config, options, {}, &losses).predicted_kl;
  options.keep = {{"up", "Q2_0"}};
  const QuantizePlan plan = plan_quantization(model.config, options, {}, &losses);
  const double kept =
      losses.at("blk.0.ffn_up.weight").at(TensorType::Q2_0) + losses.at("blk.1.ffn_up.weight").at(TensorType::Q2_0);
  EXPECT_LT(free, 0.1 * kept);
  EXPECT_GE(*plan.predicted_kl, kept);
}

// A codebook may be kept where no size may choose one.
TEST(Sensitivity, AKeptCodebookIsMeasured) {
  ModelConfig config = uneven_config(Family::Llama, true, 128);
  config.width = 64;
  config.layers.assign(2, {LayerKind::FullAttention, 4, 2, 16, 256});
  const CausalLM model = CausalLM::random(config, 7);
  QuantizeOptions options;
  options.target_bpw = 17.0, options.preset = "fast";
  const auto predicted = [&] { return *quantize(model, options, {}, uneven_text(30, 40), 2).plan.predicted_kl; };
  const double free = predicted();
  options.keep = {{"down", "IQ1_S"}};
  EXPECT_GT(predicted(), 10.0 * free);
}

}  // namespace
}  // namespace attar
