#include "distill/train.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "runtime/base/error.h"
#include "runtime/base/random.h"
#include "tests/base/failing_writes.h"
#include "tests/distill/tiny_training.h"
#include "tests/test_folder.h"

namespace attar {
namespace {

namespace fs = std::filesystem;

class TrainTest : public testing::Test {
 protected:
  void TearDown() override { fail_nth_write(0); }
  CausalLM trained(int threads, const DistillOptions& options, const std::string& folder = {}, bool resume = false,
                   const Progress& progress = {}) {
    CausalLM model = CausalLM::random(tiny_config(Family::Llama), 1);
    const TrainInputs inputs{.teacher = nullptr,
                             .student_to_teacher = {},
                             .data = &data_,
                             .checkpoint_directory = folder,
                             .resume = resume,
                             .seed = 3,
                             .threads = threads};
    result_ = train(model, byte_tokenizer(), inputs, options, progress);
    return model;
  }
  const TokenDataset data_ = countable(40);
  const TestFolder own_{"train"};
  const std::string folder_ = own_ / "checkpoints";
  TrainResult result_;
};

TEST_F(TrainTest, LearnsWhatCanBeLearned) {
  trained(2, quick(6000));
  EXPECT_LT(result_.history.back().loss, 0.5 * result_.history.front().loss);
}

// What is held out is not learned, follows what is, and is the same after a resume and with any number of threads.
TEST_F(TrainTest, LooksAtWhatIsHeldOut) {
  DistillOptions options = quick(6000);
  options.held_out_tokens = 60, options.held_out_every_steps = 5;
  const CausalLM whole = trained(2, options);
  const std::vector<TrainStep> history = result_.history;
  std::vector<double> seen;
  for (const TrainStep& step : history) {
    EXPECT_EQ(step.held_out.has_value(), (step.step + 1) % 5 == 0 || &step == &history.back()) << step.step;
    if (step.held_out) seen.push_back(*step.held_out);
  }
  EXPECT_LT(seen.back(), 0.8 * seen.front());
  EXPECT_FALSE(same(whole, trained(2, quick(6000)))) << "less is learned from";
  EXPECT_TRUE(same(whole, trained(1, options)));
  EXPECT_EQ(result_.history.back().held_out, history.back().held_out);
  EXPECT_THROW(trained(2, options, folder_, false,
                       [](const Event& event) { return event.done > 2000 ? Flow::Stop : Flow::GoOn; }),
               Error);
  EXPECT_TRUE(same(whole, trained(2, options, folder_, true)));
  for (size_t i = 0; i < history.size(); ++i) EXPECT_EQ(result_.history[i].held_out, history[i].held_out);
  options.held_out_tokens = 1000000;
  EXPECT_THROW(trained(2, options), Error);
}

TEST_F(TrainTest, GradientCheckpointingChangesNoBit) {
  for (const Family family : {Family::Llama, Family::Qwen3, Family::Gemma3})
    for (const char* precision : {"fp32", "bf16"}) {
      const CausalLM teacher = CausalLM::random(tiny_config(family), 9);
      const auto learned = [&](bool checkpointing) {
        CausalLM model = CausalLM::random(tiny_config(family), 1);
        DistillOptions options = quick(400);
        options.losses = {{"forward_kl", 1.0}};
        options.features = {{"hidden_mse", 1.0}, {"attention_relation", 1.0}};  // which look at what is kept
        options.precision = precision, options.gradient_checkpointing = checkpointing;
        train(model, byte_tokenizer(), {.teacher = &teacher, .data = &data_, .seed = 3, .threads = 2}, options);
        return model;
      };
      EXPECT_TRUE(same(learned(false), learned(true))) << precision;
    }
}

TEST_F(TrainTest, ThreadsChangeNoBit) {
  EXPECT_TRUE(same(trained(1, quick(800)), trained(2, quick(800))));
}

// Student and teacher say the same to the last bit, so the gradient is zero to the last bit and no weight changes:
// AdamW would make a step of any rounding. A student beside itself learns: its loss falls, and every weight moves.
TEST_F(TrainTest, StudentOfItselfDoesNotMoveAndAnotherOneDoes) {
  const CausalLM teacher = CausalLM::random(tiny_config(Family::Qwen3), 1);
  DistillOptions options = quick(1500);
  options.losses = {{"forward_kl", 1.0}};
  const TrainInputs inputs{.teacher = &teacher, .student_to_teacher = {}, .data = &data_, .checkpoint_directory = {}};
  CausalLM model = teacher.clone();
  const TrainResult still = train(model, byte_tokenizer(), inputs, options);
  EXPECT_NEAR(still.history.back().loss, 0.0, 1e-6);
  EXPECT_EQ(still.history.back().gradient_norm, 0.0);
  EXPECT_TRUE(same(model, teacher));

  CausalLM other = CausalLM::random(tiny_config(Family::Qwen3), 2);
  const CausalLM before = other.clone();
  const TrainResult moved = train(other, byte_tokenizer(), inputs, options);
  EXPECT_GT(moved.history.front().loss, 1e-4);
  EXPECT_LT(moved.history.back().loss, 0.8 * moved.history.front().loss);
  for (const auto& [name, tensor] : other.parameters)
    EXPECT_FALSE(at::equal(tensor, before.parameters.at(name))) << name;
}

TEST_F(TrainTest, StoppedAndResumedGivesTheSameBits) {
  const CausalLM straight = trained(2, quick(800));
  for (const int64_t stop : {1, 2, 5}) {
    fs::remove_all(folder_);
    int64_t steps = 0;
    const auto stop_after = [&](const Event&) { return ++steps >= stop ? Flow::Stop : Flow::GoOn; };
    EXPECT_THROW(trained(2, quick(800), folder_, false, stop_after), Error);
    EXPECT_TRUE(same(straight, trained(1, quick(800), folder_, true))) << stop;
  }
}

TEST_F(TrainTest, EveryFailingWriteLosesNothing) {
  const CausalLM straight = trained(1, quick(400));
  int64_t failures = 0;
  for (int64_t n = 1; n < 200; ++n) {
    fail_nth_write(n);
    try {
      trained(1, quick(400), folder_, failures > 0);
      break;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::Resources);
      ++failures;
    }
  }
  EXPECT_GT(failures, 5);
  fail_nth_write(0);
  EXPECT_TRUE(same(straight, trained(1, quick(400), folder_, true)));
}

TEST_F(TrainTest, WrongInputsAreSaid) {
  TokenDataset silent = data_;
  for (TokenDocument& document : silent.documents) document.in_loss.assign(document.in_loss.size(), 0);
  CausalLM model = CausalLM::random(tiny_config(Family::Llama), 1);
  EXPECT_THROW(
      train(model, byte_tokenizer(),
            {.teacher = nullptr, .student_to_teacher = {}, .data = &silent, .checkpoint_directory = {}}, quick(10)),
      Error);
  DistillOptions options = quick(10);
  options.losses = {{"forward_kl", 1.0}};
  EXPECT_THROW(
      train(model, byte_tokenizer(),
            {.teacher = nullptr, .student_to_teacher = {}, .data = &data_, .checkpoint_directory = {}}, options),
      Error);
}

TEST_F(TrainTest, SignalOfPartOfTheDataIsNotPassedOverInSilence) {
  TokenDataset mixed = data_;
  mixed.signal_k = 1;
  TokenDocument& first = mixed.documents[0];
  first.signal_ids = first.tokens;
  first.signal_log_probs.assign(first.tokens.size(), -0.5f);
  CausalLM model = CausalLM::random(tiny_config(Family::Llama), 1);
  const CausalLM teacher = CausalLM::random(tiny_config(Family::Llama), 2);
  DistillOptions options = quick(96);
  options.losses = {{"forward_kl", 1.0}};
  TrainInputs inputs{.teacher = &teacher, .student_to_teacher = {}, .data = &mixed, .checkpoint_directory = {}};
  const double mixed_loss = train(model, byte_tokenizer(), inputs, options).history.front().loss;
  inputs.data = &data_;  // auto takes the teacher: as without any cache
  model = CausalLM::random(tiny_config(Family::Llama), 1);
  EXPECT_EQ(mixed_loss, train(model, byte_tokenizer(), inputs, options).history.front().loss);
  inputs.data = &mixed;
  inputs.teacher = nullptr;
  EXPECT_THROW(train(model, byte_tokenizer(), inputs, options), Error);
}

TEST_F(TrainTest, LossThatNoStepReachesIsAnError) {
  TokenDataset data = data_;
  for (TokenDocument& document : data.documents) {
    document.in_loss.assign(document.in_loss.size(), 0);
    document.in_loss[2] = 1;  // the first of its piece when pieces have two tokens: nothing before it
  }
  DistillOptions options = quick(10);
  options.sequence_tokens = 2;
  CausalLM model = CausalLM::random(tiny_config(Family::Llama), 1);
  EXPECT_THROW(
      train(model, byte_tokenizer(),
            {.teacher = nullptr, .student_to_teacher = {}, .data = &data, .checkpoint_directory = {}}, options),
      Error);
}

TEST_F(TrainTest, WrongOptionsAreSaid) {
  DistillOptions options = quick(10);
  options.losses = {{"forward_kll", 1.0}};
  EXPECT_THROW(trained(1, options), Error);
}

TEST_F(TrainTest, ResumeRefusesOtherDataOfTheSameSize) {
  trained(1, quick(400), folder_);
  TokenDataset other = data_;
  other.documents[3].tokens[2] ^= 1;
  CausalLM model = CausalLM::random(tiny_config(Family::Llama), 1);
  const TrainInputs inputs{.teacher = nullptr,
                           .student_to_teacher = {},
                           .data = &other,
                           .checkpoint_directory = folder_,
                           .resume = true,
                           .seed = 3,
                           .threads = 1};
  EXPECT_THROW(train(model, byte_tokenizer(), inputs, quick(400)), Error);
}

TEST_F(TrainTest, ResumeRefusesAnotherStudentOfTheSameShape) {
  trained(1, quick(400), folder_);
  const auto again = [&](const std::string& hash) {
    CausalLM model = CausalLM::random(tiny_config(Family::Llama), 9);
    train(model, byte_tokenizer(),
          {.student_hash = hash, .data = &data_, .checkpoint_directory = folder_, .resume = true, .seed = 3},
          quick(400));
  };
  EXPECT_THROW(again("another"), Error);
  EXPECT_NO_THROW(again(""));
}

TEST_F(TrainTest, SweepsWhatAKilledRunLeft) {
  const fs::path left = fs::path(folder_) / "step-2.tmp-12345", kept = fs::path(folder_) / "notes";
  fs::create_directories(left);
  fs::create_directories(kept);
  trained(1, quick(400), folder_, true);
  EXPECT_FALSE(fs::exists(left));
  EXPECT_TRUE(fs::exists(kept));
}

}  // namespace
}  // namespace attar
