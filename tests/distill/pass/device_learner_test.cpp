// A step whose passes and heads LibTorch computes beside one by hand: losses, gradients and what is judged, whatever it
// is learned by. On the processor always, on a GPU where there is one.
#include <c10/core/GradMode.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "compress/shards.h"
#include "distill/features/feature_match.h"
#include "distill/learner.h"
#include "distill/parts/lora.h"
#include "runtime/base/error.h"
#include "tests/distill/pass/compared_passes.h"
#include "tests/distill/tiny_training.h"
#include "tests/test_folder.h"

namespace attar {
namespace {

struct Lesson {
  std::string name;
  DistillOptions options;
  SignalSource source;
  TokenDataset data = countable(30);
  ModelConfig student = tiny_config(Family::Llama), teacher = tiny_config(Family::Llama);
  std::vector<int32_t> student_to_teacher{};
  bool beside = true;       // the teacher is there
  double tolerance = 5e-5;  // of gradients, relative to the largest number of a tensor
};

// A top-k signal; every fifth token has none.
TokenDataset with_top_two() {
  TokenDataset data = countable(30);
  data.signal_k = 2;
  int n = 0;
  for (TokenDocument& document : data.documents)
    for (const int32_t token : document.tokens) {
      const bool silent = ++n % 5 == 0;
      for (const int32_t id : {token, (token + 1) % 300}) document.signal_ids.push_back(silent ? -1 : id);
      for (const float p : {0.5f, 0.3f}) document.signal_log_probs.push_back(silent ? -HUGE_VALF : std::log(p));
    }
  return data;
}

TokenDataset with_hidden_states(int64_t width) {
  TokenDataset data = countable(30);
  data.hidden_width = width;
  std::vector<float> state(static_cast<size_t>(width));
  for (TokenDocument& document : data.documents)
    for (const int32_t token : document.tokens) {
      for (size_t i = 0; i < state.size(); ++i) state[i] = std::sin(static_cast<float>(token) + static_cast<float>(i));
      append_state(state, document.hidden);
    }
  return data;
}

// A second reading whose chunks end with every second token.
TokenDataset with_other_reading() {
  TokenDataset data = countable(30);
  for (TokenDocument& document : data.documents) {
    OtherReading& other = document.other;
    const auto length = static_cast<int64_t>(document.tokens.size());
    for (const int32_t token : document.tokens) other.tokens.push_back((token * 7 + 1) % 280);
    other.in_loss = document.in_loss;
    for (int64_t end = 1; end < length; end += 2) other.chunks.push_back({end, end});
    other.chunks.push_back({length, length});
  }
  return data;
}

// Ids of a student that has the teacher's tokens from 100 on.
TokenDataset in_few_tokens() {
  TokenDataset data = countable(30);
  for (TokenDocument& document : data.documents)
    for (int32_t& token : document.tokens) token %= 200;
  return data;
}

std::vector<Lesson> lessons() {
  DistillOptions plain = quick(1000), online = plain, kept = plain;
  online.losses = {{"forward_kl", 1.0}, {"cross_entropy", 0.3}}, online.temperature = 2.0;
  kept.losses = {{"forward_kl", 1.0}};
  std::vector<Lesson> out{{"plain", plain, SignalSource::None}, {"online", online, SignalSource::Online}};
  const auto add = [&](const std::string& name, const auto& change) {
    out.push_back({name, online, SignalSource::Online});
    change(out.back());
  };
  add("several slices", [](Lesson& l) { l.data = countable(180); });
  add("its inside computed again", [](Lesson& l) { l.options.gradient_checkpointing = true; });
  add("a head apart", [](Lesson& l) { l.student.tied_embeddings = l.teacher.tied_embeddings = false; });
  for (const Family family : {Family::Qwen2, Family::Qwen3, Family::Gemma3})
    add("family " + std::to_string(static_cast<int>(family)),
        [&](Lesson& l) { l.student = l.teacher = tiny_config(family); });
  add("features", [](Lesson& l) {
    l.options.features = {{"hidden_mse", 0.5}, {"hidden_cosine", 0.2}, {"attention_relation", 0.3}};
    l.student.width = 16;
  });
  add("part of the positions", [](Lesson& l) { l.options.position_share = 0.4; });
  add("frozen, the head too", [](Lesson& l) { l.options.frozen = {"embedding", "down"}; });
  add("adapters", [](Lesson& l) { l.options.lora_rank = 3; });
  add("few tokens of the teacher's", [](Lesson& l) {
    l.data = in_few_tokens(), l.student.vocab_size = 200;
    for (int32_t id = 0; id < 200; ++id) l.student_to_teacher.push_back(id + 100);
  });
  add("kept",
      [&](Lesson& l) { l.options = kept, l.source = SignalSource::Cached, l.data = with_top_two(), l.beside = false; });
  add("kept beside the teacher", [&](Lesson& l) {
    l.options = kept, l.options.unsignalled = "online", l.source = SignalSource::Cached, l.data = with_top_two();
  });
  add("hidden states", [](Lesson& l) {
    l.source = SignalSource::Cached, l.data = with_hidden_states(l.teacher.width), l.beside = false;
  });
  // Where two probabilities are all but alike, rounding turns a slope of uld around.
  add("across tokenizers", [](Lesson& l) {
    l.options.losses = {{"aligned_likelihood", 0.7}, {"uld", 0.2}, {"cross_entropy", 0.1}}, l.options.temperature = 1.0;
    l.source = SignalSource::Aligned, l.data = with_other_reading(), l.teacher.vocab_size = 280, l.tolerance = 1e-3;
  });
  return out;
}

struct Learned {
  BatchGradients step;
  double judged = 0;
  std::vector<double> teacher_losses{};
};

// With logits that are far apart, so that rounding changes no order.
CausalLM sure_model(const ModelConfig& config, uint64_t seed) {
  CausalLM model = CausalLM::random(config, seed);
  model.parameters.at(tensor_name(0, Role::OutputNorm)).add_(5.0);
  return model;
}

// The second of two steps from the same weights, by hand where there is no device.
Learned learned(const Lesson& lesson, const PassDevice& device) {
  const OwnKernels own;
  const c10::NoGradGuard no_grad;
  const CausalLM student = sure_model(lesson.student, 1), teacher = sure_model(lesson.teacher, 9);
  Reparameterizations parts = trained_parts(student, lesson.options, 3);
  TrainInputs inputs{.teacher = lesson.beside ? &teacher : nullptr,
                     .student_to_teacher = lesson.student_to_teacher,
                     .teacher_head = lesson.data.hidden_width > 0 ? teacher.head() : at::Tensor(),
                     .data = &lesson.data,
                     .reparameterized = &parts,
                     .seed = 3,
                     .threads = 2};
  if (asks_features(lesson.options)) parts[kProjections] = fitted_projections(student, inputs, lesson.options);
  Learner learner(student, inputs, lesson.options, lesson.source, device);
  TrainingBatch batch{&lesson.data, {}, {}};
  batch.pieces = whole_pieces(lesson.data, static_cast<int64_t>(lesson.data.documents.size()));
  batch.tokens = loss_tokens(lesson.data, batch.pieces, lesson.source);
  learner.gradients(batch, 0.3);
  Learned out{.step = learner.gradients(batch, 0.3)};
  out.judged = learner.loss_on(lesson.data);
  if (lesson.source == SignalSource::Online) out.teacher_losses = learner.teacher_losses(lesson.data, {});
  return out;
}

void expect_near(double got, double expected, double tolerance, const std::string& name) {
  EXPECT_NEAR(got, expected, tolerance * std::max(1.0, std::abs(expected))) << name;
}

void expect_alike_on(const c10::Device& device, double factor) {
  for (const Lesson& lesson : lessons()) {
    const Learned hand = learned(lesson, {}), there = learned(lesson, device);
    const double tolerance = factor * lesson.tolerance;
    expect_near(there.step.loss, hand.step.loss, factor * 1e-5, lesson.name);
    expect_near(there.judged, hand.judged, factor * 1e-5, lesson.name + ", judged");
    ASSERT_EQ(there.step.parts.size(), hand.step.parts.size()) << lesson.name;
    for (const auto& [part, value] : hand.step.parts)
      expect_near(there.step.parts.at(part), value, factor * 1e-5, lesson.name + ", " + part);
    ASSERT_EQ(there.step.agreement.has_value(), hand.step.agreement.has_value()) << lesson.name;
    if (hand.step.agreement) {  // of hundreds of tokens
      EXPECT_NEAR(*there.step.agreement, *hand.step.agreement, 0.01) << lesson.name;
    }
    ASSERT_EQ(there.step.of.size(), hand.step.of.size()) << lesson.name;
    for (const auto& [name, gradient] : hand.step.of) {
      ASSERT_TRUE(there.step.of.at(name).device().is_cpu()) << name;
      EXPECT_LT(off(there.step.of.at(name), gradient), tolerance) << lesson.name << ", " << name;
    }
    ASSERT_EQ(there.teacher_losses.size(), hand.teacher_losses.size());
    for (size_t d = 0; d < hand.teacher_losses.size(); ++d)
      expect_near(there.teacher_losses[d], hand.teacher_losses[d], factor * 1e-5, lesson.name + ", the teacher's loss");
  }
}

TEST(DeviceLearner, LearnsAsTheOneByHand) {
  expect_alike_on(c10::DeviceType::CPU, 1.0);
}

TEST(DeviceLearner, LearnsAsTheOneByHandOnAGpu) {
  if (!has_cuda()) GTEST_SKIP() << "LibTorch finds no GPU";
  expect_alike_on(*pass_device("cuda"), 5.0);
}

struct Training {
  CausalLM model = CausalLM::random(tiny_config(Family::Llama), 1);
  TrainResult result{};
};

Training training_on(const std::string& device, const std::string& folder = {}, bool resume = false,
                     const Progress& progress = {}) {
  Training out;
  const TokenDataset data = countable(40);
  DistillOptions options = quick(800);
  options.device = device;
  const TrainInputs inputs{.data = &data, .checkpoint_directory = folder, .resume = resume, .seed = 3, .threads = 2};
  out.result = train(out.model, byte_tokenizer(), inputs, options, progress);
  return out;
}

TEST(DeviceTraining, WithoutAGpuAutoIsCpuAndCudaIsRefusedBeforeAnythingIsMade) {
  if (has_cuda()) GTEST_SKIP() << "there is one";
  const TestFolder own("device_training");
  int64_t steps = 0;
  const auto stop = [&](const Event&) { return ++steps >= 3 ? Flow::Stop : Flow::GoOn; };
  EXPECT_THROW(training_on("auto", own / "steps", false, stop), Error);
  const Training resumed = training_on("cpu", own / "steps", true), whole = training_on("cpu");
  EXPECT_TRUE(same(resumed.model, whole.model));
  EXPECT_EQ(training_on("auto").result.device, "cpu");
  try {
    training_on("cuda", own / "none");
    FAIL() << "it was trained";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::Resources);
  }
  EXPECT_FALSE(std::filesystem::exists(own / "none"));
}

TEST(DeviceTraining, OnAGpuGivesTheSameBytesAndResumesThereAlone) {
  if (!has_cuda()) GTEST_SKIP() << "LibTorch finds no GPU";
  const TestFolder own("device_training");
  const Training whole = training_on("cuda"), on_cpu = training_on("cpu");
  EXPECT_EQ(whole.result.device, "cuda");
  EXPECT_NEAR(whole.result.history.back().loss, on_cpu.result.history.back().loss, 1e-3);
  EXPECT_TRUE(same(whole.model, training_on("cuda").model));
  int64_t steps = 0;
  const auto stop = [&](const Event&) { return ++steps >= 3 ? Flow::Stop : Flow::GoOn; };
  EXPECT_THROW(training_on("cuda", own / "steps", false, stop), Error);
  EXPECT_THROW(training_on("cpu", own / "steps", true), Error);
  EXPECT_TRUE(same(whole.model, training_on("auto", own / "steps", true).model));
}

}  // namespace
}  // namespace attar
