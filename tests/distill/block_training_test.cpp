#include "distill/block_training.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/zeros.h>
#include <c10/core/GradMode.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <stdexcept>
#include <utility>
#include <vector>

#include "compress/block_walk.h"
#include "tests/compress/normal_tensor.h"
#include "tests/distill/tiny_training.h"

namespace attar {
namespace {

// A tensor that is trained itself.
Reparameterization as_it_is(const at::Tensor& start) {
  Reparameterization out;
  out.parameters["latent"] = start.clone();
  out.effective = [](const NamedTensors& parameters, at::Tensor& weights, int) {
    weights.copy_(parameters.at("latent"));
  };
  out.pull_back = [](const NamedTensors&, const at::Tensor& gradient, int) {
    return NamedTensors{{"latent", gradient}};
  };
  return out;
}

// A block whose matrices were moved, and what it gave before on eleven batches.
struct MovedBlock {
  CausalLM block;
  Reparameterizations parameters{};
  BlockExamples examples{};
  static constexpr size_t kJudging = 7;

  explicit MovedBlock(Family family) : block(one_layer(family)) {
    const std::vector<TokenBatch> batches = batches_in_order(countable(60), 32, 80);
    for (size_t b = 0; b < 11; ++b) {
      const at::Tensor given = embed(block, batches.at(b));
      examples.of.push_back({batches[b], given, forward_block(block, 0, given, batches[b])});
    }
    for (const Role role : {Role::Embedding, Role::OutputNorm}) block.parameters.erase(tensor_name(0, role));
    for (auto& [name, tensor] : block.parameters) {
      if (tensor.dim() != 2) continue;
      tensor = tensor + at::arange(tensor.numel(), at::kFloat).mul(0.73).sin().mul(0.05).view_as(tensor);
      parameters[name] = as_it_is(tensor);
    }
  }
  static CausalLM one_layer(Family family) {
    ModelConfig config = tiny_config(family);
    config.layers.resize(1);
    return CausalLM::random(config, 6);
  }
  // Of an example, as it should come out of a training.
  double error_of(size_t example) const {
    const BlockExample& one = examples.of[example];
    const at::Tensor tokens = loudness_factors(one.wanted).square(),
                     off = forward_block(block, 0, one.given, one.batch) - one.wanted;
    return (tokens * off.square()).sum(at::kDouble).item<double>() /
           (tokens * one.wanted.square()).sum(at::kDouble).item<double>();
  }
};

BlockTrainingOptions quick_options(int64_t steps) {
  return {.steps = steps, .batch_tokens = 150, .travel = 0.3, .seed = 2, .threads = 2};
}

TEST(BlockTraining, ComesBackToWhatIsWanted) {
  for (const Family family : {Family::Llama, Family::Qwen3, Family::Gemma3}) {
    MovedBlock moved(family);
    const double before = moved.error_of(MovedBlock::kJudging);
    const BlockTrainingResult result = train_block(moved.block, moved.parameters, moved.examples, quick_options(200));
    EXPECT_NEAR(result.before, before, 1e-3 * before);  // f32, whose sums run in another order
    EXPECT_LT(result.after, 0.5 * result.before);
    EXPECT_NEAR(moved.error_of(MovedBlock::kJudging), result.after, 1e-2 * result.after);  // what is kept is shown
    for (const auto& [name, own] : moved.parameters)
      EXPECT_TRUE(at::equal(own.parameters.at("latent"), moved.block.parameter(name))) << name;
  }
}

// Errors of channels that hardly count stay.
TEST(BlockTraining, ChannelsCountAsTheyAreWeighed) {
  const auto errors = [](double second_half) {
    MovedBlock moved(Family::Llama);
    const int64_t width = moved.block.config.width;
    moved.examples.channels = at::arange(width, at::kDouble).ge(width / 2).to(at::kDouble) * (second_half - 1.0) + 1.0;
    train_block(moved.block, moved.parameters, moved.examples, quick_options(100));
    const BlockExample& one = moved.examples.of[MovedBlock::kJudging];
    const at::Tensor off = (forward_block(moved.block, 0, one.given, one.batch) - one.wanted).square();
    return std::pair(off.narrow(1, 0, width / 2).sum().item<double>(),
                     off.narrow(1, width / 2, width / 2).sum().item<double>());
  };
  const auto [first, second] = errors(1e-4);
  const auto [first_too, second_too] = errors(1e4);
  EXPECT_LT(first, first_too);
  EXPECT_GT(second, second_too);
}

// As of a model that is sure of everything.
TEST(BlockTraining, WhereNoChannelCountsAllDo) {
  MovedBlock moved(Family::Llama), plain(Family::Llama);
  moved.examples.channels = at::zeros({moved.block.config.width}, at::kDouble);
  const BlockTrainingResult result = train_block(moved.block, moved.parameters, moved.examples, quick_options(8)),
                            expected = train_block(plain.block, plain.parameters, plain.examples, quick_options(8));
  EXPECT_EQ(result.before, expected.before);
  EXPECT_EQ(result.after, expected.after);
}

TEST(BlockTraining, ThreadsChangeNoBit) {
  for (const Precision precision : {Precision::Fp32, Precision::Bf16}) {
    MovedBlock one(Family::Qwen3), three(Family::Qwen3);
    BlockTrainingOptions options = quick_options(20);
    options.precision = precision, options.threads = 1, options.travel = 0.05;
    const double before = one.error_of(MovedBlock::kJudging);
    const BlockTrainingResult by_one = train_block(one.block, one.parameters, one.examples, options);
    options.threads = 3;
    const BlockTrainingResult by_three = train_block(three.block, three.parameters, three.examples, options);
    EXPECT_NEAR(by_one.before, before, 1e-3 * before);  // in f32 whatever it learns in
    EXPECT_EQ(by_one.before, by_three.before);
    EXPECT_EQ(by_one.after, by_three.after);
    EXPECT_LT(by_one.after, by_one.before);
    EXPECT_TRUE(same(one.block, three.block));
  }
}

// What it learns from asks for something else than what judges it.
TEST(BlockTraining, TheStartIsKeptWhereNothingIsBetter) {
  MovedBlock moved(Family::Llama);
  const CausalLM start = moved.block.clone();
  for (size_t i = 0; i < moved.examples.of.size(); ++i) {
    BlockExample& one = moved.examples.of[i];
    const at::Tensor gives = forward_block(start, 0, one.given, one.batch);
    one.wanted = i == MovedBlock::kJudging ? gives + 1e-3 : gives * -2.0;
  }
  const BlockTrainingResult result = train_block(moved.block, moved.parameters, moved.examples, quick_options(40));
  EXPECT_GT(result.before, 0.0);
  EXPECT_EQ(result.after, result.before);
  EXPECT_TRUE(same(start, moved.block));
  for (const auto& [name, own] : moved.parameters)
    EXPECT_TRUE(at::equal(own.parameters.at("latent"), start.parameter(name))) << name;
}

TEST(BlockTraining, OneExampleAloneAndNoneToMove) {
  MovedBlock moved(Family::Llama);
  moved.examples.of.resize(1);
  const BlockTrainingResult result = train_block(moved.block, moved.parameters, moved.examples, quick_options(100));
  EXPECT_LT(result.after, 0.5 * result.before);
  Reparameterizations none;
  const BlockTrainingResult still = train_block(moved.block, none, moved.examples, quick_options(40));
  EXPECT_EQ(still.after, still.before);
  EXPECT_NEAR(still.before, result.after, 1e-6 * result.after);
}

// One example judges: the start, and up to eight states.
TEST(BlockTraining, LooksEightTimesOnTheWay) {
  using Counts = std::pair<int64_t, int64_t>;
  for (const auto& [steps, looks] : {Counts(3, 3), Counts(8, 8), Counts(15, 8), Counts(20, 8)}) {
    MovedBlock moved(Family::Llama);
    int64_t calls = 0;
    train_block(moved.block, moved.parameters, moved.examples, quick_options(steps), [&] { ++calls; });
    EXPECT_EQ(calls, 1 + steps + looks);
  }
}

TEST(BlockTraining, MayBeStopped) {
  MovedBlock moved(Family::Llama);
  int steps = 0;
  const auto stop = [&] {
    if (++steps == 3) throw std::runtime_error("stop");
  };
  EXPECT_THROW(train_block(moved.block, moved.parameters, moved.examples, quick_options(40), stop), std::runtime_error);
  EXPECT_EQ(steps, 3);
}

TEST(OutputError, IsItsFormulaAndItsGradientThatOfDifferences) {
  const OwnKernels own;
  const c10::NoGradGuard no_grad;
  Team team(2);
  at::Tensor outputs = normal(70, 5, 1).to(at::kFloat);
  const OutputTarget target{normal(70, 5, 2).to(at::kFloat), at::arange(70, at::kFloat).mul(0.1).add(0.1),
                            at::arange(5, at::kFloat).mul(0.5).add(0.2)};
  at::Tensor gradient = at::empty_like(outputs);
  const double scale = 0.25, error = output_error(team, outputs, target, scale, gradient),
               expected = (target.tokens.unsqueeze(1) * target.channels * (outputs - target.wanted).square())
                              .sum(at::kDouble)
                              .item<double>();
  EXPECT_NEAR(error, expected, 1e-5 * expected);  // the formula's products are f32
  const float step = 0.03125f;
  for (const int64_t place : {0, 7, 173, 349}) {
    float* value = outputs.mutable_data_ptr<float>() + place;
    const float kept = *value;
    *value = kept + step;
    const double above = output_error(team, outputs, target);
    *value = kept - step;
    const double below = output_error(team, outputs, target);
    *value = kept;
    const double slope = scale * (above - below) / (2.0 * static_cast<double>(step));
    EXPECT_NEAR(gradient.flatten()[place].item<double>(), slope, 1e-3 * std::fabs(slope) + 1e-3) << place;
  }
  output_error(team, outputs, target, scale, outputs);  // in its place
  EXPECT_TRUE(at::equal(outputs, gradient));
}

}  // namespace
}  // namespace attar
