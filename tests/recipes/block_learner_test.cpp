// Blocks that learn behind error feedback: block_steps of a quantization, from codes to codes.
#include <ATen/TensorOperators.h>
#include <c10/core/GradMode.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "compress/block_walk.h"
#include "export/export.h"
#include "quantize/grid_training.h"
#include "quantize/quantize.h"
#include "recipes/run/qad.h"
#include "tests/compress/uneven_model.h"

namespace attar {
namespace {

CausalLM model_of_width(int64_t width, int layers) {
  ModelConfig config = uneven_config(Family::Llama, true);
  config.width = width;
  config.layers.assign(static_cast<size_t>(layers), {LayerKind::FullAttention, 4, 2, width / 4, 256});
  return CausalLM::random(config, 3);
}

TokenDataset calibration_text() {
  return uneven_text(60, 30);
}

QuantizedModel learned_blocks(const CausalLM& model, const std::string& to, int64_t steps, int threads) {
  QuantizeOptions options;
  options.block_steps = steps;
  if (to == "size")
    options.target_bpw = 5.0;
  else
    options.to = to;
  return quantize(model, options, {}, calibration_text(), threads, {}, {}, block_learner(steps, threads));
}

TEST(BlockLearner, LeavesNoBlockFartherAway) {
  const CausalLM model = model_of_width(64, 2);
  for (const std::string to : {"Q2_0", "Q4_0", "Q4_1", "IQ4_NL", "NVFP4", "size"}) {
    const QuantizedModel best = learned_blocks(model, to, 0, 2), learned = learned_blocks(model, to, 12, 2);
    EXPECT_TRUE(best.blocks.empty());
    ASSERT_EQ(learned.blocks.size(), 2u) << to;
    for (const auto& [layer, loss] : learned.blocks) {
      EXPECT_GT(loss.before, 0.0) << to << " " << layer;
      EXPECT_LE(loss.after, loss.before) << to << " " << layer;
    }
    EXPECT_EQ(learned.plan.tensor_bytes(), best.plan.tensor_bytes()) << to;
  }
}

// Codes that were rounded one by one leave most to learn; random weights behind feedback leave next to nothing.
TEST(BlockLearner, BringsABlockNearer) {
  const CausalLM model = model_of_width(64, 1);
  QuantizeOptions options;
  options.to = "Q2_0", options.preset = "fast", options.importance = false;
  const QuantizedModel rounded = quantize(model, options, {}, {}, 2);
  QuantizedModel codes{model.config, {}, {}};
  for (const auto& [name, tensor] : rounded.tensors)
    if (name.starts_with("blk.0.") && tensor.shape.size() == 2) codes.tensors[name] = tensor;
  std::vector<at::Tensor> before, whole;
  const std::vector<TokenBatch> batches = calibration_batches(model.config, calibration_text(), 8192);
  for (const TokenBatch& batch : batches) {
    const c10::NoGradGuard no_grad;
    before.push_back(embed(model, batch)), whole.push_back(forward_block(model, 0, before.back(), batch));
  }
  const std::string hash = content_hash(codes);
  const auto loss = block_learner(100, 2)({model, {model, batches, before, whole}, {}, {}}, codes);
  ASSERT_TRUE(loss.has_value());
  EXPECT_LT(loss->after, 0.9 * loss->before);
  EXPECT_NE(content_hash(codes), hash);
}

// The loss that is told is that of the bytes: of the first block, which is given what the embedding gives.
TEST(BlockLearner, TheBytesAreWhatWasComputedWith) {
  const c10::NoGradGuard no_grad;
  const CausalLM model = model_of_width(64, 1);
  const QuantizedModel learned = learned_blocks(model, "Q2_0", 60, 2);
  const CausalLM codes = dequantized(learned);
  const std::vector<TokenBatch> batches = calibration_batches(model.config, calibration_text(), 8192);
  ASSERT_LT(batches.size(), 8u);  // of which the last judges
  const TokenBatch& judging = batches.back();
  const at::Tensor given = embed(model, judging), wanted = forward_block(model, 0, given, judging),
                   tokens = loudness_factors(wanted).square(), off = forward_block(codes, 0, given, judging) - wanted;
  const double error = (tokens * off.square()).sum(at::kDouble).item<double>() /
                       (tokens * wanted.square()).sum(at::kDouble).item<double>();
  EXPECT_NEAR(learned.blocks.at(0).after, error, 1e-3 * error);  // f32, whose sums run in another order
}

TEST(BlockLearner, ThreadsChangeNoBit) {
  const CausalLM model = model_of_width(64, 2);
  for (const std::string to : {"Q4_1", "size"}) {
    const QuantizedModel one = learned_blocks(model, to, 12, 1), two = learned_blocks(model, to, 12, 2);
    EXPECT_EQ(content_hash(one), content_hash(two)) << to;
    EXPECT_EQ(one.blocks, two.blocks) << to;
  }
}

// K types hold rows of 256; codebooks keep their codes, and say so where there is nothing else.
TEST(BlockLearner, KTypesLearnAndCodebooksStay) {
  const CausalLM model = model_of_width(256, 1);
  for (const std::string to : {"Q2_K", "Q4_K", "Q6_K", "TQ2_0"}) {
    const QuantizedModel learned = learned_blocks(model, to, 12, 2);
    ASSERT_EQ(learned.blocks.size(), 1u) << to;
    EXPECT_LE(learned.blocks.at(0).after, learned.blocks.at(0).before) << to;
  }
  const QuantizedModel best = learned_blocks(model, "IQ3_S", 0, 2), learned = learned_blocks(model, "IQ3_S", 12, 2);
  EXPECT_TRUE(learned.blocks.empty());
  EXPECT_EQ(content_hash(learned), content_hash(best));
  EXPECT_EQ(learned.notes.size(), best.notes.size() + 1);
}

}  // namespace
}  // namespace attar
