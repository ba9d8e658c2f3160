#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cosine_similarity.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>
#include <c10/core/GradMode.h>
#include <gtest/gtest.h>

#include <cmath>

#include "distill/features/feature_match.h"
#include "distill/features/hidden_match.h"
#include "distill/features/relation_match.h"
#include "runtime/base/error.h"
#include "tests/distill/tiny_training.h"
#include "tests/test_folder.h"

namespace attar {
namespace {

using Pairs = std::vector<LayerPair>;

at::Tensor waves(int64_t rows, int64_t columns, double pace) {
  return at::arange(rows * columns, at::kDouble).mul(pace).sin().view({rows, columns}).to(at::kFloat);
}

// Every third token is left out, and all of those from 40 to 120.
at::Tensor some_counted(int64_t n) {
  at::Tensor counted = at::ones({n}, at::kBool);
  for (int64_t i = 0; i < n; ++i)
    if (i % 3 == 2 || (i >= 40 && i < 120)) counted[i] = false;
  return counted;
}

double off(const at::Tensor& got, const at::Tensor& expected) {
  const at::Tensor exact = expected.to(at::kDouble);
  return (got.to(at::kDouble) - exact).abs().max().item<double>() / exact.abs().max().item<double>();
}

TEST(FeatureLayers, AreAtEqualStepsWhereNobodySays) {
  EXPECT_EQ(feature_layers({}, 2, 6), (Pairs{{0, 2}, {1, 5}}));
  EXPECT_EQ(feature_layers({}, 3, 7), (Pairs{{0, 1}, {1, 3}, {2, 6}}));
  EXPECT_EQ(feature_layers({}, 4, 2), (Pairs{{0, 0}, {1, 0}, {2, 0}, {3, 1}}));
  EXPECT_EQ(feature_layers({"3:5", "0:0"}, 4, 6), (Pairs{{0, 0}, {3, 5}}));
}

TEST(FeatureLayers, RefuseWhatIsNotThere) {
  for (const char* wrong : {"", ":", "1", "1:", ":1", "a:1", "1:b", "1:2:3", "-1:2", "1 :2", "99999999999999999999:1"})
    EXPECT_FALSE(parse_layer_pair(wrong)) << wrong;
  const std::vector<std::vector<std::string>> refused = {{"4:0"}, {"0:6"}, {"1:1", "1:2"}, {"1-2"}};
  for (const auto& pairs : refused) EXPECT_THROW(feature_layers(pairs, 4, 6), Error) << pairs.front();
}

TEST(HiddenMatch, OnNumbersByHand) {
  const OwnKernels own;
  Team team(1);
  const at::Tensor student = at::tensor({1.0f, 0.0f, 3.0f, 4.0f}).view({2, 2});
  const at::Tensor teacher = at::tensor({1.0f, 1.0f, 3.0f, 4.0f}).view({2, 2});
  const HiddenMatch match =
      match_hidden(team, {student, teacher, {}, at::ones({2}, at::kBool)}, {1.0, 0.0}, at::kFloat, {});
  EXPECT_DOUBLE_EQ(match.mse, 0.5);  // a distance of 1 over a square of 2; then none
  EXPECT_NEAR(match.cosine, 1.0 - 1.0 / std::sqrt(2.0), 1e-12);
  EXPECT_TRUE(at::equal(match.by_student, at::tensor({0.0f, -1.0f, 0.0f, 0.0f}).view({2, 2})));
}

// The same from its definition, in double, with gradients by autograd.
struct HiddenReference {
  double mse, cosine;
  at::Tensor by_student, by_projection;
};
HiddenReference hidden_reference(const HiddenPair& pair, const HiddenWeights& weights) {
  const c10::AutoGradMode grad(true);
  at::Tensor student = pair.student.to(at::kDouble).set_requires_grad(true), projection;
  const at::Tensor teacher = pair.teacher.to(at::kDouble), counted = pair.counted.to(at::kDouble);
  at::Tensor shown = student;
  if (pair.projection.defined()) {
    projection = pair.projection.to(at::kDouble).set_requires_grad(true);
    shown = student.matmul(projection.t());
  }
  const at::Tensor mse = ((shown - teacher).square().sum(1) / teacher.square().sum(1) * counted).sum();
  const at::Tensor cosine = ((1.0 - at::cosine_similarity(shown, teacher, 1, 0.0)) * counted).sum();
  (mse * weights.mse + cosine * weights.cosine).backward();
  return {mse.item<double>(), cosine.item<double>(), student.grad(),
          projection.defined() ? projection.grad() : at::Tensor()};
}

TEST(HiddenMatch, EqualsItsDefinition) {
  const OwnKernels own;
  const HiddenWeights weights{0.7, 0.4};
  for (const bool projects : {false, true}) {
    HiddenPair pair{waves(133, projects ? 17 : 23, 0.37), waves(133, 23, 0.53), {}, some_counted(133)};
    if (projects) pair.projection = waves(23, 17, 0.71);
    const at::Tensor by_projection = at::zeros_like(waves(23, 17, 1.0));
    Team team(2), alone(1);
    const HiddenMatch got = match_hidden(team, pair, weights, at::kFloat, by_projection);
    const HiddenReference expected = hidden_reference(pair, weights);
    EXPECT_NEAR(got.mse, expected.mse, 1e-5 * expected.mse);
    EXPECT_NEAR(got.cosine, expected.cosine, 1e-5 * expected.cosine);
    EXPECT_LT(off(got.by_student, expected.by_student), 1e-5);
    if (projects) {
      EXPECT_LT(off(by_projection, expected.by_projection), 1e-5);
    }
    EXPECT_TRUE(at::equal(got.by_student, match_hidden(alone, pair, weights, at::kFloat, {}).by_student));
    EXPECT_LT(off(match_hidden(team, pair, weights, at::kBFloat16, {}).by_student, expected.by_student), 0.03);
  }
}

TEST(HiddenMatch, StatesOfZeros) {
  const OwnKernels own;
  Team team(1);
  const at::Tensor zeros = at::zeros_like(waves(3, 5, 1.0)), counted = at::ones({3}, at::kBool);
  const HiddenMatch match = match_hidden(team, {zeros, waves(3, 5, 1.0), {}, counted}, {1.0, 1.0}, at::kFloat, {});
  EXPECT_NEAR(match.mse, 3.0, 1e-6);
  EXPECT_EQ(match.cosine, 3.0);
  EXPECT_TRUE(match.by_student.isfinite().all().item<bool>());
  EXPECT_TRUE(match_hidden(team, {zeros, zeros, {}, counted}, {1.0, 1.0}, at::kFloat, {})
                  .by_student.isfinite()
                  .all()
                  .item<bool>());
}

TEST(HiddenMatch, TheFittedProjectionFindsTheOneThatMadeTheTeacher) {
  const at::Tensor projection = waves(9, 6, 0.71);
  const CounterRandom random(7);
  at::Tensor student = at::empty({200, 6}, at::kFloat);
  for (int64_t i = 0; i < student.numel(); ++i)
    student.data_ptr<float>()[i] = static_cast<float>(random.uniform(static_cast<uint64_t>(i)) - 0.5);
  EXPECT_LT(off(fit_projection(student, student.matmul(projection.t())), projection), 0.02);
  const at::Tensor few = waves(2, 6, 0.37);  // fewer tokens than channels
  EXPECT_TRUE(fit_projection(few, few.matmul(projection.t())).isfinite().all().item<bool>());
}

// Whole (T, T) relations in double, gradients by autograd.
double relation_reference(const at::Tensor& student, const at::Tensor& teacher, const RelationPair& pair) {
  at::Tensor sum = at::zeros({}, at::kDouble);
  int64_t begin = 0;
  for (const int64_t length : pair.lengths) {
    for (int64_t head = 0; head < pair.relation_heads; ++head) {
      const auto log_relations = [&](const at::Tensor& x) {
        const int64_t d = x.size(1) / pair.relation_heads;
        const at::Tensor part = x.narrow(0, begin, length).narrow(1, head * d, d);
        const at::Tensor scores = part.matmul(part.t()) / std::sqrt(static_cast<double>(d));
        const at::Tensor ahead = at::ones({length, length}, at::kBool).triu(1);
        return at::log_softmax(scores.masked_fill(ahead, -1e300), -1);
      };
      const at::Tensor p = log_relations(teacher), q = log_relations(student);
      const at::Tensor kl = (p.exp() * (p - q).clamp(-1e100, 1e100)).sum(1);
      sum = sum + (kl * pair.counted.narrow(0, begin, length).to(at::kDouble)).sum();
    }
    begin += length;
  }
  sum = sum / (3.0 * static_cast<double>(pair.relation_heads));
  if (student.requires_grad()) sum.backward();
  return sum.item<double>();
}

TEST(RelationMatch, EqualsItsDefinition) {
  const OwnKernels own;
  for (const int64_t heads : {1, 2}) {
    RelationPair pair{{waves(200, 12, 0.37), waves(200, 6, 0.59), waves(200, 6, 0.83)},
                      {waves(200, 20, 0.41), waves(200, 4, 0.67), waves(200, 4, 0.91)},
                      {1, 64, 65, 63, 7},
                      some_counted(200),
                      heads};
    Team team(2), alone(1);
    const RelationMatch got = match_relations(team, pair, 0.6), one = match_relations(alone, pair, 0.6);
    EXPECT_EQ(got.sum, one.sum);
    double expected = 0.0;
    const auto check = [&](at::Tensor HeadTap::*kind) {
      const c10::AutoGradMode grad(true);
      const at::Tensor student = (pair.student.*kind).to(at::kDouble).set_requires_grad(true);
      expected += relation_reference(student, (pair.teacher.*kind).to(at::kDouble), pair);
      EXPECT_LT(off(got.by_student.*kind, student.grad() * 0.6), 2e-5);
      EXPECT_TRUE(at::equal(got.by_student.*kind, one.by_student.*kind));
    };
    check(&HeadTap::query), check(&HeadTap::key), check(&HeadTap::value);
    EXPECT_NEAR(got.sum, expected, 1e-5 * expected);
  }
}

// What the outputs and taps are asked to become: anything that is not the same for all.
at::Tensor asked(const at::Tensor& x) {
  return waves(x.size(0), x.size(1), 0.37);
}

class TapTest : public testing::TestWithParam<Family> {};

// The gradient by taps, along a direction through all parameters, against a difference of what is asked of them.
TEST_P(TapTest, GradientsPassBackFromThem) {
  const OwnKernels own;
  const c10::NoGradGuard no_grad;
  const CausalLM model = CausalLM::random(tiny_config(GetParam()), 4);
  const TokenDataset data = countable(5);
  std::vector<Piece> pieces;
  for (int64_t d = 0; d < 5; ++d)
    pieces.push_back({d, 0, static_cast<int64_t>(data.documents[static_cast<size_t>(d)].tokens.size())});
  const TokenBatch batch = to_batch(data, pieces);
  const TapPlan plan{.hidden = {0, 1}, .heads = {1}};
  Team team(2);
  const auto value_at = [&](double step, NamedTensors* gradients) {
    CausalLM moved = model.clone();
    double pace = 0.3;
    for (auto& [name, tensor] : moved.parameters)
      tensor.add_(at::arange(tensor.numel(), at::kFloat).mul(pace += 0.01).sin().view_as(tensor), step);
    const PassWeights weights(moved, Precision::Fp32, team);
    TrainingPass pass(weights, team, gradients != nullptr ? Keeps::All : Keeps::Nothing, plan);
    const at::Tensor hidden = pass.forward(batch);
    LayerTaps by;
    at::Tensor sum = at::zeros({}, at::kDouble);
    const auto ask = [&](const at::Tensor& x, at::Tensor& by_x) {
      by_x = asked(x);
      sum = sum + (x.to(at::kDouble) * by_x).sum();
    };
    for (const auto& [layer, tap] : pass.taps()) {
      if (tap.hidden.defined()) ask(tap.hidden, by[layer].hidden);
      if (!tap.heads.query.defined()) continue;
      ask(tap.heads.query, by[layer].heads.query);
      ask(tap.heads.key, by[layer].heads.key), ask(tap.heads.value, by[layer].heads.value);
    }
    if (gradients != nullptr) {
      for (const auto& [name, tensor] : model.parameters) (*gradients)[name] = at::zeros_like(tensor);
      pass.backward(at::zeros_like(hidden), *gradients, by);
    }
    return sum.item<double>();
  };
  NamedTensors gradients;
  value_at(0.0, &gradients);
  double along = 0.0, pace = 0.3;
  for (const auto& [name, gradient] : gradients)
    along += (gradient * at::arange(gradient.numel(), at::kFloat).mul(pace += 0.01).sin().view_as(gradient))
                 .to(at::kDouble)
                 .sum()
                 .item<double>();
  constexpr double kStep = 1e-3;
  const double difference = (value_at(kStep, nullptr) - value_at(-kStep, nullptr)) / (2.0 * kStep);
  EXPECT_NEAR(along, difference, 5e-3 * std::abs(difference));
}

INSTANTIATE_TEST_SUITE_P(Families, TapTest,
                         testing::Values(Family::Llama, Family::Qwen2, Family::Qwen3, Family::Gemma3));

struct Taught {
  CausalLM student;
  TrainResult result;
};

class FeatureTraining : public testing::Test {
 protected:
  // A student of half the layers and another width.
  FeatureTraining() : teacher_(CausalLM::random(deep(24), 9)) {
    options_ = quick(700);
    options_.losses = {{"forward_kl", 1.0}};
    options_.features = {{"hidden_mse", 0.5}, {"hidden_cosine", 0.2}, {"attention_relation", 0.3}};
  }
  static ModelConfig deep(int64_t width) {
    ModelConfig config = tiny_config(Family::Llama);
    config.width = width;
    config.layers.insert(config.layers.end(), config.layers.begin(), config.layers.end());
    return config;
  }
  static ModelConfig narrow() {
    ModelConfig config = tiny_config(Family::Llama);
    config.width = 16;
    return config;
  }
  Taught train_here(int threads, const std::string& steps = {}, bool resume = false, const Progress& progress = {}) {
    Taught taught{CausalLM::random(narrow(), 3), {}};
    TrainInputs inputs{.teacher = &teacher_, .data = &data_};
    inputs.threads = threads, inputs.checkpoint_directory = steps, inputs.resume = resume;
    taught.result = train(taught.student, byte_tokenizer(), inputs, options_, progress);
    return taught;
  }

  CausalLM teacher_;
  TokenDataset data_ = countable(30);
  DistillOptions options_;
};

TEST_F(FeatureTraining, BringsTheStudentNearer) {
  options_.tokens = 3000;
  const Taught taught = train_here(2);
  const std::vector<TrainStep>& steps = taught.result.history;
  for (const char* feature : {"hidden_mse", "hidden_cosine", "attention_relation"})
    EXPECT_LT(steps.back().parts.at(feature), 0.8 * steps.front().parts.at(feature)) << feature;
  EXPECT_EQ(taught.student.parameters.size(), CausalLM::random(narrow(), 3).parameters.size());
}

TEST_F(FeatureTraining, ThreadsChangeNoBit) {
  EXPECT_TRUE(same(train_here(1).student, train_here(2).student));
}

TEST_F(FeatureTraining, ResumesToTheSameBytes) {
  const TestFolder own("features_resumed");
  const std::string steps = own / "steps";
  options_.ema = 0.9, options_.held_out_tokens = 60, options_.held_out_every_steps = 2;
  const Taught whole = train_here(2);
  int64_t reports = 0;
  const auto stop = [&](const Event&) { return ++reports == 5 ? Flow::Stop : Flow::GoOn; };
  EXPECT_THROW(train_here(2, steps, false, stop), Error);
  EXPECT_TRUE(same(whole.student, train_here(2, steps, true).student));
  options_.features["hidden_mse"] = 0.4;
  EXPECT_THROW(train_here(2, steps, true), Error);  // of other options
}

TEST_F(FeatureTraining, WithoutALossOfTheTeacher) {
  options_.losses = {{"cross_entropy", 1.0}};
  const TrainStep step = train_here(1).result.history.back();
  EXPECT_TRUE(step.parts.contains("hidden_mse") && step.parts.contains("cross_entropy"));
}

TEST_F(FeatureTraining, RefusesWhatCannotBe) {
  options_.feature_layers = {"0:4"};
  EXPECT_THROW(train_here(1), Error);
  options_.feature_layers.clear();
  CausalLM student = CausalLM::random(narrow(), 3);
  TrainInputs alone;
  alone.data = &data_;
  options_.losses = {{"cross_entropy", 1.0}};
  EXPECT_THROW(train(student, byte_tokenizer(), alone, options_), Error);
}

}  // namespace
}  // namespace attar
