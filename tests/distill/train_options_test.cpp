// What a training does beside its steps: skipped ones, averages, the best weights, an early end, another optimizer;
// each to the same bits after a stop.
#include <ATen/TensorOperators.h>
#include <ATen/ops/abs.h>
#include <ATen/ops/max.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <limits>

#include "compress/checkpoint.h"
#include "distill/train.h"
#include "runtime/base/error.h"
#include "tests/base/failing_writes.h"
#include "tests/distill/tiny_training.h"
#include "tests/test_folder.h"

namespace attar {
namespace {

namespace fs = std::filesystem;

struct TrainOutcome {
  CausalLM model;
  TrainResult result;
};

// Most documents count up; one in twenty says what nothing else does.
TokenDataset with_strange_ones() {
  TokenDataset data = countable(40);
  for (size_t d = 0; d < data.documents.size(); d += 20)
    for (size_t i = 0; i < data.documents[d].tokens.size(); ++i)
      data.documents[d].tokens[i] = static_cast<int32_t>((i * i * 37 + 11) % 300);
  return data;
}

// A stop writes a checkpoint of its own.
DistillOptions few_writes(int64_t tokens) {
  DistillOptions options = quick(tokens);
  options.checkpoint_every_steps = 1000;
  return options;
}

class TrainOptionsTest : public testing::Test {
 protected:
  void TearDown() override { fail_nth_write(0); }
  TrainOutcome trained(const DistillOptions& options, int threads = 2, const std::string& folder = {},
                       bool resume = false, const Progress& progress = {}) {
    TrainOutcome out{CausalLM::random(tiny_config(Family::Llama), 1), {}};
    const TrainInputs inputs{
        .data = &data_, .checkpoint_directory = folder, .resume = resume, .seed = 3, .threads = threads};
    out.result = train(out.model, byte_tokenizer(), inputs, options, progress);
    return out;
  }
  // Stops after so many steps, and goes on.
  TrainOutcome in_two_parts(const DistillOptions& options, int64_t steps) {
    fs::remove_all(folder_);
    int64_t done = 0;
    EXPECT_THROW(
        trained(options, 2, folder_, false, [&](const Event&) { return ++done >= steps ? Flow::Stop : Flow::GoOn; }),
        Error);
    return trained(options, 1, folder_, true);
  }
  void expect_the_same_after_a_stop(const DistillOptions& options, std::initializer_list<int64_t> stops) {
    const TrainOutcome straight = trained(options, 2, own_ / "straight");
    for (const int64_t stop : stops) {
      const TrainOutcome parted = in_two_parts(options, stop);
      EXPECT_TRUE(same(straight.model, parted.model)) << stop;
      EXPECT_EQ(straight.result.best_step, parted.result.best_step) << stop;
      EXPECT_EQ(straight.result.skipped_steps, parted.result.skipped_steps) << stop;
      EXPECT_EQ(straight.result.steps, parted.result.steps) << stop;
    }
    fs::remove_all(own_ / "straight");
  }

  TokenDataset data_ = countable(40);
  const TestFolder own_{"train_options"};
  const std::string folder_ = own_ / "checkpoints";
};

// A student that stands still beside another model: the loss grows with the share of the teacher in its target. A stop
// in between changes nothing.
TEST_F(TrainOptionsTest, TaidsTargetMovesToTheTeacher) {
  const CausalLM teacher = CausalLM::random(tiny_config(Family::Llama), 9);
  const TrainInputs inputs{.teacher = &teacher, .student_to_teacher = {}, .data = &data_, .seed = 3};
  DistillOptions options = few_writes(3000);
  options.losses = {{"taid", 1.0}}, options.loss_settings = {{"taid_start", 0.1}}, options.learning_rate = 1e-12;
  CausalLM still = CausalLM::random(tiny_config(Family::Llama), 1);
  const TrainResult done = train(still, byte_tokenizer(), inputs, options);
  EXPECT_GT(done.history.back().loss, 10.0 * done.history.front().loss);

  options.learning_rate = 1e-2, options.tokens = 1500;
  CausalLM straight = CausalLM::random(tiny_config(Family::Llama), 1), parted = straight.clone();
  train(straight, byte_tokenizer(), inputs, options);
  TrainInputs kept = inputs;
  kept.checkpoint_directory = folder_;
  int64_t steps = 0;
  const auto stop = [&](const Event&) { return ++steps >= 5 ? Flow::Stop : Flow::GoOn; };
  CausalLM first = parted.clone();
  EXPECT_THROW(train(first, byte_tokenizer(), kept, options, stop), Error);
  kept.resume = true;
  train(parted, byte_tokenizer(), kept, options);
  EXPECT_TRUE(same(straight, parted));
}

// One that is learned by is told of once.
TEST_F(TrainOptionsTest, WhatIsMeasuredMovesNothing) {
  const CausalLM teacher = CausalLM::random(tiny_config(Family::Llama), 9);
  TrainInputs inputs{.teacher = &teacher, .student_to_teacher = {}, .data = &data_, .seed = 3};
  DistillOptions options = few_writes(600);
  options.losses = {{"jsd", 1.0}};
  CausalLM plain = CausalLM::random(tiny_config(Family::Llama), 1), beside = plain.clone(), taught = plain.clone();
  const TrainResult alone = train(plain, byte_tokenizer(), inputs, options);
  EXPECT_FALSE(alone.history.front().parts.contains("forward_kl"));
  inputs.measured = {"forward_kl"};
  const TrainResult measured = train(beside, byte_tokenizer(), inputs, options);
  EXPECT_TRUE(same(plain, beside));
  EXPECT_EQ(measured.history.back().loss, alone.history.back().loss);
  options.losses = {{"forward_kl", 1.0}};
  const TrainResult learned = train(taught, byte_tokenizer(), inputs, options);
  EXPECT_EQ(measured.history.front().parts.at("forward_kl"), learned.history.front().parts.at("forward_kl"));
  EXPECT_EQ(learned.history.front().parts.size(), 1u);
  options.losses = {{"cross_entropy", 1.0}};  // where nobody is asked there is nothing to tell
  EXPECT_FALSE(train(taught, byte_tokenizer(), inputs, options).history.front().parts.contains("forward_kl"));
}

TEST_F(TrainOptionsTest, ASpikeChangesNothing) {
  data_ = with_strange_ones();
  DistillOptions options = few_writes(3000);
  options.batch_tokens = 32;
  const TrainResult all = trained(options).result;
  options.spike_factor = 2.0;
  const TrainResult guarded = trained(options).result;
  EXPECT_EQ(all.skipped_steps, 0);
  EXPECT_GT(guarded.skipped_steps, 0);
  EXPECT_LT(guarded.skipped_steps, guarded.steps / 4);
  EXPECT_EQ(guarded.tokens, all.tokens) << "what is skipped was read all the same";
  for (size_t i = 0; i < guarded.history.size(); ++i) {
    EXPECT_EQ(guarded.history[i].loss, all.history[i].loss) << i;
    if (guarded.history[i].skipped) break;
  }
  expect_the_same_after_a_stop(options, {60});
}

TEST_F(TrainOptionsTest, ALossThatStaysNoNumberEndsTheTraining) {
  DistillOptions options = quick(6000);
  options.learning_rate = 1e30;
  options.warmup = 0.0;
  try {
    trained(options, 2, folder_);
    FAIL() << "it went on";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::Failure);
    EXPECT_NE(std::string(error.what()).find("not finite"), std::string::npos) << error.what();
  }
}

// A decay by which matrices grow ninefold a step until they overflow: what was written before stays, and it alone.
TEST_F(TrainOptionsTest, TheLastGoodCheckpointIsKept) {
  DistillOptions options = quick(6000);
  options.schedule = "constant", options.warmup = 0.0;
  options.weight_decay = 10.0 / options.learning_rate;
  options.checkpoint_every_steps = 1;
  std::string said;
  try {
    trained(options, 2, folder_);
  } catch (const Error& error) {
    said = error.what();
  }
  EXPECT_NE(said.find("lower learning_rate"), std::string::npos) << said;
  std::vector<std::string> left;
  for (const auto& entry : fs::directory_iterator(folder_)) left.push_back(entry.path().filename());
  EXPECT_EQ(left.size(), 1u) << "of the two that are kept one was of weights that overflow";
  for (const std::string& step : left) {
    EXPECT_NE(said.find(step.substr(5)), std::string::npos) << step << ": " << said;
    for (const auto& [name, tensor] : read_checkpoint(folder_ + "/" + step).model.parameters)
      EXPECT_TRUE(std::isfinite(tensor.abs().max().item<double>())) << step << " " << name;
  }
}

TEST_F(TrainOptionsTest, ATeacherWithoutNumbersIsSaidAtTheStart) {
  CausalLM teacher = CausalLM::random(tiny_config(Family::Llama), 2), model = teacher.clone();
  teacher.parameters.at("output_norm.weight").fill_(std::numeric_limits<float>::quiet_NaN());
  DistillOptions options = quick(600);
  options.losses = {{"forward_kl", 1.0}};
  const CausalLM before = model.clone();
  try {
    train(model, byte_tokenizer(), {.teacher = &teacher, .data = &data_}, options);
    FAIL() << "it went on";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("step 0"), std::string::npos) << error.what();
    EXPECT_NE(std::string(error.what()).find("taught from"), std::string::npos) << error.what();
  }
  EXPECT_TRUE(same(model, before));
}

TEST_F(TrainOptionsTest, GivesTheAverageBack) {
  DistillOptions options = few_writes(800);
  const int64_t steps = trained(options).result.steps;
  CausalLM mean = CausalLM::random(tiny_config(Family::Llama), 1);
  for (int64_t n = 0; n < steps; ++n) {
    int64_t done = 0;
    fs::remove_all(folder_);
    EXPECT_THROW(
        trained(options, 2, folder_, false, [&](const Event&) { return done++ == n ? Flow::Stop : Flow::GoOn; }),
        Error);
    const double decay = std::min(0.8, (1.0 + static_cast<double>(n)) / (10.0 + static_cast<double>(n)));
    const CausalLM model =
        n + 1 == steps ? trained(options).model : read_checkpoint(folder_ + "/step-" + std::to_string(n + 1)).model;
    for (auto& [name, tensor] : mean.parameters) tensor.add_(model.parameters.at(name) - tensor, 1.0 - decay);
  }
  options.ema = 0.8;
  const TrainOutcome averaged = trained(options);
  for (const auto& [name, tensor] : mean.parameters)
    EXPECT_LT((averaged.model.parameters.at(name) - tensor).abs().max().item<double>(), 1e-6) << name;
  expect_the_same_after_a_stop(options, {1, 4});
}

// What is held out is judged by the average, and training goes on as if nothing had been looked at.
TEST_F(TrainOptionsTest, JudgesTheAverage) {
  DistillOptions options = few_writes(1500);
  options.held_out_tokens = 60, options.held_out_every_steps = 5;
  const TrainOutcome plain = trained(options);
  options.ema = 0.9;
  const TrainOutcome averaged = trained(options);
  for (size_t i = 0; i < plain.result.history.size(); ++i) {
    EXPECT_EQ(plain.result.history[i].loss, averaged.result.history[i].loss) << i;
    if (plain.result.history[i].held_out) {
      EXPECT_NE(plain.result.history[i].held_out, averaged.result.history[i].held_out) << i;
    }
  }
  EXPECT_FALSE(same(plain.model, averaged.model));
  expect_the_same_after_a_stop(options, {7});
}

// A rate that rises until all is forgotten: the best look is not the last.
DistillOptions spoiled() {
  DistillOptions options = few_writes(3000);
  options.held_out_tokens = 60, options.held_out_every_steps = 4;
  options.warmup = 1.0, options.learning_rate = 5.0;
  return options;
}

TEST_F(TrainOptionsTest, KeepsTheBestWeights) {
  DistillOptions options = spoiled();
  options.keep = "best";
  const TrainOutcome best = trained(options, 2, folder_);
  ASSERT_TRUE(best.result.best_step.has_value());
  const int64_t step = *best.result.best_step;
  EXPECT_LT(step, best.result.steps - 1);
  double lowest = std::numeric_limits<double>::infinity();
  for (const TrainStep& each : best.result.history) lowest = std::min(lowest, each.held_out.value_or(lowest));
  EXPECT_EQ(best.result.history[static_cast<size_t>(step)].held_out, lowest);
  EXPECT_TRUE(same(best.model, read_checkpoint(folder_ + "/best").model));

  // They are the weights after that step.
  options.keep = "last";
  int64_t done = 0;
  EXPECT_THROW(trained(options, 2, own_ / "until", false,
                       [&](const Event&) { return done++ == step ? Flow::Stop : Flow::GoOn; }),
               Error);
  EXPECT_TRUE(same(best.model, read_checkpoint(own_ / ("until/step-" + std::to_string(step + 1))).model));

  options.keep = "best";
  expect_the_same_after_a_stop(options, {3, step + 1});
  options.ema = 0.7;
  expect_the_same_after_a_stop(options, {12});
}

// The best weights and a checkpoint are on their way at the same time: what is there asks for nothing that is not.
TEST_F(TrainOptionsTest, EveryFailingWriteLeavesTheBestThatCheckpointsAskFor) {
  DistillOptions options = few_writes(600);
  options.held_out_tokens = 60, options.keep = "best";
  options.held_out_every_steps = 2, options.checkpoint_every_steps = 2;
  const TrainOutcome straight = trained(options, 1, own_ / "straight");
  int64_t failures = 0;
  for (int64_t n = 1; n < 400; n += 3) {  // the n-th is now of the one, now of the other
    fail_nth_write(n);
    try {
      trained(options, 1, folder_, failures > 0);
      break;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::Resources) << error.what();
      ++failures;
    }
  }
  EXPECT_GT(failures, 5);
  fail_nth_write(0);
  const TrainOutcome whole = trained(options, 1, folder_, true);
  EXPECT_TRUE(same(straight.model, whole.model));
  EXPECT_EQ(straight.result.best_step, whole.result.best_step);
}

TEST_F(TrainOptionsTest, StopsWhenPatienceRunsOut) {
  DistillOptions options = spoiled();
  const TrainOutcome whole = trained(options);
  options.patience = 2;
  const TrainOutcome early = trained(options);
  EXPECT_TRUE(early.result.stopped_early);
  EXPECT_FALSE(whole.result.stopped_early);
  EXPECT_LT(early.result.steps, whole.result.steps);
  std::vector<double> seen;
  for (const TrainStep& step : early.result.history)
    if (step.held_out) seen.push_back(*step.held_out);
  ASSERT_GE(seen.size(), 3u);
  const double best = *std::min_element(seen.begin(), seen.end());
  EXPECT_EQ(seen[seen.size() - 3], best);
  expect_the_same_after_a_stop(options, {early.result.steps - 1, 5});
}

TEST_F(TrainOptionsTest, ABestThatIsDamagedIsSaid) {
  DistillOptions options = spoiled();
  options.keep = "best";
  const int64_t best = *trained(options, 2, folder_).result.best_step;
  fs::remove_all(folder_);
  int64_t done = 0;
  EXPECT_THROW(
      trained(options, 2, folder_, false, [&](const Event&) { return ++done > best ? Flow::Stop : Flow::GoOn; }),
      Error);
  fs::remove_all(folder_ + "/best");
  EXPECT_THROW(trained(options, 2, folder_, true), Error);
}

TEST_F(TrainOptionsTest, KeepBestNeedsAPlaceAndAJudge) {
  DistillOptions options = spoiled();
  options.keep = "best";
  EXPECT_THROW(trained(options), Error);
  options.held_out_tokens = 0;
  EXPECT_THROW(trained(options, 2, folder_), Error);
}

TEST_F(TrainOptionsTest, MuonLearnsAndResumes) {
  DistillOptions options = few_writes(2000);
  const TrainOutcome adamw = trained(options);
  options.optimizer = "muon";
  const TrainOutcome muon = trained(options);
  EXPECT_LT(muon.result.history.back().loss, 0.8 * muon.result.history.front().loss);
  EXPECT_FALSE(same(muon.model, adamw.model));
  EXPECT_TRUE(same(muon.model, trained(options, 1).model));
  options.ema = 0.9;
  expect_the_same_after_a_stop(options, {1, 9});
}

TEST_F(TrainOptionsTest, AgreementIsOfTokensWithATeacher) {
  const CausalLM teacher = CausalLM::random(tiny_config(Family::Llama), 1);
  CausalLM model = teacher.clone();
  DistillOptions options = quick(200);
  options.losses = {{"forward_kl", 1.0}};
  EXPECT_EQ(train(model, byte_tokenizer(), {.teacher = &teacher, .data = &data_}, options).history.front().agreement,
            1.0);
  EXPECT_FALSE(trained(quick(200)).result.history.front().agreement.has_value());
}

}  // namespace
}  // namespace attar
