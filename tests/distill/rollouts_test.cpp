#include "distill/rollouts.h"

#include <ATen/TensorIndexing.h>
#include <ATen/ops/allclose.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>

#include "distill/learner.h"
#include "runtime/base/error.h"
#include "tests/distill/tiny_training.h"
#include "tests/test_folder.h"

namespace attar {
namespace {

// Each next token is the likeliest one; a multiple of 7 ends a text.
Rollout greedy(const CausalLM& student, std::vector<int32_t> tokens, int64_t max_tokens) {
  const c10::InferenceMode no_gradients;
  Rollout out;
  for (int64_t i = 0; i < max_tokens && !out.ended; ++i) {
    const auto length = static_cast<int64_t>(tokens.size());
    const std::vector<int64_t> ids(tokens.begin(), tokens.end());
    const TokenBatch batch{at::tensor(ids, at::kLong), at::arange(length), {length}};
    tokens.push_back(static_cast<int32_t>(logits(student, batch)[length - 1].argmax().item<int64_t>()));
    out.tokens.push_back(tokens.back());
    out.ended = tokens.back() % 7 == 0;
  }
  return out;
}

class RolloutsTest : public testing::Test {
 protected:
  RolloutWriter writer() {
    return [this](const CausalLM& student, const RolloutRequest& request, const Progress& progress) {
      std::vector<Rollout> written;
      for (const std::vector<int32_t>& prompt : request.prompts) {
        report(progress, {.stage = "generate", .unit = "texts"});
        written.push_back(greedy(student, prompt, request.max_tokens));
      }
      ids_.push_back(request.first_id);
      return written;
    };
  }
  CausalLM trained(const DistillOptions& options, const std::string& folder = {}, bool resume = false,
                   const Progress& progress = {}, int threads = 2) {
    CausalLM model = CausalLM::random(tiny_config(Family::Llama), 1);
    const TrainInputs inputs{.teacher = &teacher_,
                             .student_to_teacher = {},
                             .data = &data_,
                             .write_rollouts = writer(),
                             .checkpoint_directory = folder,
                             .resume = resume,
                             .seed = 3,
                             .threads = threads};
    result_ = train(model, byte_tokenizer(), inputs, options, progress);
    return model;
  }
  static DistillOptions half() {
    DistillOptions options = quick(1500);
    options.losses = {{"reverse_kl", 1.0}};
    options.on_policy = 0.5, options.replay = 0.3;
    options.rollouts = 6, options.rollout_tokens = 9, options.rollout_prompt_tokens = 4;
    return options;
  }
  const CausalLM teacher_ = CausalLM::random(tiny_config(Family::Llama), 9);
  const TokenDataset data_ = countable(40);
  const TestFolder own_{"rollouts"};
  std::vector<uint64_t> ids_;
  TrainResult result_;
};

TEST_F(RolloutsTest, AShareOfTheStepsLearnsFromThem) {
  trained(half());
  int64_t own = 0, own_tokens = 0, before = 0;
  for (const TrainStep& step : result_.history) {
    own += step.on_policy, own_tokens += step.on_policy ? step.tokens - before : 0;
    before = step.tokens;
  }
  EXPECT_GT(own, result_.steps / 4);
  EXPECT_LT(own, 3 * result_.steps / 4);
  EXPECT_EQ(result_.rollouts.texts, static_cast<int64_t>(6 * ids_.size()));
  for (size_t i = 0; i < ids_.size(); ++i) EXPECT_EQ(ids_[i], 6 * i) << "no draw twice";
  EXPECT_GT(own_tokens, 0);
  EXPECT_LE(result_.rollouts.tokens, 9 * result_.rollouts.texts);
  EXPECT_LE(result_.rollouts.ended, result_.rollouts.texts);
}

// A step of rollouts is a step of those documents beside the teacher: what was generated is the denominator, prompts
// teach nothing, and losses of the text are left out.
TEST_F(RolloutsTest, AStepIsThatOfTheTextsBesideTheTeacher) {
  DistillOptions options = half();
  options.replay = 0.0;
  RolloutState state;
  const CausalLM student = CausalLM::random(tiny_config(Family::Llama), 1);
  const RolloutWriter write = writer();
  Rollouts rollouts(data_, write, options, 3, state);
  const TrainingBatch batch = rollouts.next(student, 0, {});
  ASSERT_EQ(batch.pieces.size(), 6u);
  TokenDataset texts = *batch.data;
  int64_t generated = 0;
  for (TokenDocument& text : texts.documents) {
    EXPECT_EQ(std::count(text.in_loss.begin(), text.in_loss.begin() + 4, uint8_t{1}), 0);
    generated += static_cast<int64_t>(text.tokens.size()) - 4;
  }
  EXPECT_EQ(batch.tokens.count, generated);

  const TrainInputs inputs{.teacher = &teacher_, .student_to_teacher = {}, .data = &texts, .checkpoint_directory = {}};
  DistillOptions with_text = options;
  with_text.losses["cross_entropy"] = 0.7;
  Learner own(student, inputs, with_text, SignalSource::Online), plain(student, inputs, options, SignalSource::Online);
  const BatchGradients of_rollouts = own.gradients(batch, 0.0);
  TrainingBatch as_data{&texts, batch.pieces, batch.tokens};
  const BatchGradients of_data = plain.gradients(as_data, 0.0);
  EXPECT_GT(of_rollouts.loss, 0.0);
  EXPECT_EQ(of_rollouts.loss, of_data.loss);
  for (const auto& [name, gradient] : of_rollouts.of) EXPECT_TRUE(at::equal(gradient, of_data.of.at(name))) << name;
  EXPECT_FALSE(of_rollouts.parts.contains("cross_entropy"));
}

TEST_F(RolloutsTest, TheStudentComesToSayWhatTheTeacherSays) {
  DistillOptions options = half();
  options.tokens = 6000, options.on_policy = 1.0;
  trained(options);
  EXPECT_LT(result_.history.back().loss, 0.5 * result_.history.front().loss);
}

TEST_F(RolloutsTest, ThreadsChangeNoBit) {
  EXPECT_TRUE(same(trained(half(), {}, false, {}, 1), trained(half(), {}, false, {}, 2)));
}

// Stopped between two steps and while it writes: the texts that were not learned from yet, and those for replay, are
// part of where a training stands.
TEST_F(RolloutsTest, StoppedAnywhereAndResumedGivesTheSameBits) {
  const CausalLM whole = trained(half());
  const TrainResult once = result_;
  for (const int stop : {1, 2, 3, 7, 12, 20, 29}) {
    const std::string folder = own_ / std::to_string(stop);
    int events = 0;
    const auto stop_after = [&](const Event&) { return ++events >= stop ? Flow::Stop : Flow::GoOn; };
    EXPECT_THROW(trained(half(), folder, false, stop_after), Error) << stop;
    EXPECT_TRUE(same(whole, trained(half(), folder, true))) << stop;
    EXPECT_EQ(result_.rollouts.texts, once.rollouts.texts);
    EXPECT_EQ(result_.rollouts.tokens, once.rollouts.tokens);
  }
}

// Of a chat the student goes on from all that comes before the first answer.
TEST_F(RolloutsTest, PromptsLeaveRoomForAText) {
  TokenDataset data = data_.without_documents();
  TokenDocument chat = data_.documents[0];
  chat.tokens.resize(12, 1), chat.in_loss.assign(12, 0);
  chat.in_loss[7] = chat.in_loss[8] = 1;
  data.documents = {chat};
  RolloutState state;
  std::vector<std::vector<int32_t>> prompts;
  const RolloutWriter keep = [&](const CausalLM&, const RolloutRequest& request, const Progress&) {
    prompts = request.prompts;
    return std::vector<Rollout>(request.prompts.size(), Rollout{{3}, true});
  };
  Rollouts(data, keep, half(), 1, state).next(teacher_, 0, {});
  EXPECT_EQ(prompts, std::vector<std::vector<int32_t>>(6, {chat.tokens.begin(), chat.tokens.begin() + 7}));

  EXPECT_THROW(Rollouts(data, {}, half(), 1, state), Error) << "nobody to write";
  DistillOptions narrow = half();
  narrow.rollout_tokens = narrow.sequence_tokens - 6;
  EXPECT_THROW(Rollouts(data, keep, narrow, 1, state), Error);
  narrow.rollout_tokens = 9, narrow.rollout_prompt_tokens = 500;
  EXPECT_THROW(Rollouts(data_, keep, narrow, 1, state), Error);
}

}  // namespace
}  // namespace attar
