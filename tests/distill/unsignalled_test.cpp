// Tokens that a cached signal says nothing about: how they are learned, counted and reported.
#include <gtest/gtest.h>

#include <cmath>

#include "distill/signal_source.h"
#include "distill/train.h"
#include "runtime/base/error.h"
#include "tests/distill/tiny_training.h"
#include "tests/test_folder.h"

namespace attar {
namespace {

// A signal of two entries a token: the token itself at 0.5 and another at 0.3. Every `silent`-th token has none, as
// after a cut of the vocabulary; every `cut`-th has lost its second entry.
TokenDataset signalled(int silent, int cut) {
  TokenDataset data = countable(40);
  data.signal_k = 2;
  int n = 0;
  for (TokenDocument& document : data.documents) {
    for (const int32_t token : document.tokens) {
      ++n;
      const bool is_silent = n % silent == 0, is_cut = n % cut == 0;
      document.signal_ids.push_back(is_silent ? -1 : token);
      document.signal_ids.push_back(is_silent || is_cut ? -1 : (token + 1) % 300);
      document.signal_log_probs.push_back(is_silent ? -HUGE_VALF : std::log(0.5f));
      document.signal_log_probs.push_back(is_silent ? -HUGE_VALF : std::log(0.3f));
    }
  }
  return data;
}
constexpr int kNever = 1 << 30;

struct Trained {
  CausalLM model;
  TrainResult result;
};
Trained trained(const TokenDataset& data, const DistillOptions& options, const CausalLM* teacher = nullptr) {
  Trained out{CausalLM::random(tiny_config(Family::Llama), 1), {}};
  out.result = train(out.model, byte_tokenizer(), {.teacher = teacher, .data = &data, .seed = 3}, options);
  return out;
}
DistillOptions cached(int64_t tokens) {
  DistillOptions options = quick(tokens);
  options.losses = {{"forward_kl", 1.0}};
  options.signal = "cached";
  return options;
}

TEST(Unsignalled, TokensLearnByCrossEntropyAsIfThatWereTheirLoss) {
  const TokenDataset data = signalled(1, kNever);
  const Trained silent = trained(data, cached(400)), plain = trained(data, quick(400));
  EXPECT_TRUE(same(silent.model, plain.model));
  EXPECT_EQ(silent.result.tokens, plain.result.tokens);
  EXPECT_EQ(silent.result.history[0].parts.at("cross_entropy"), plain.result.history[0].parts.at("cross_entropy"));
  ASSERT_TRUE(silent.result.gaps);
  EXPECT_EQ(silent.result.gaps->unsignalled, 1.0);
  EXPECT_FALSE(plain.result.gaps);
}

TEST(Unsignalled, TokensLearnFromTheTeacherBesideTheStudentOnRequest) {
  const CausalLM teacher = CausalLM::random(tiny_config(Family::Llama), 2);
  DistillOptions options = cached(400);
  options.unsignalled = "online";
  const TokenDataset data = signalled(1, kNever);
  const Trained silent = trained(data, options, &teacher);
  options.signal = "online";
  EXPECT_TRUE(same(silent.model, trained(data, options, &teacher).model));
  options.signal = "cached";
  EXPECT_TRUE(needs_teacher_beside(options, data));
  EXPECT_FALSE(needs_teacher_beside(options, signalled(kNever, kNever)));
  EXPECT_THROW(trained(data, options), Error);  // without one
}

// The step's loss is the mean over all its tokens, each by its own loss; none is counted that learns nothing.
TEST(Unsignalled, TokensDoNotDiluteTheStep) {
  const TokenDataset data = signalled(3, kNever);
  const TrainStep first = trained(data, cached(90)).result.history.front();
  const double share = first.gaps->unsignalled;
  EXPECT_NEAR(share, 1.0 / 3.0, 0.1);
  EXPECT_NEAR(first.loss, (1.0 - share) * first.parts.at("forward_kl") + share * first.parts.at("cross_entropy"), 1e-9);
  EXPECT_GT(first.parts.at("cross_entropy"), 4.0);  // of 300 tokens, untrained
  const double whole = trained(signalled(kNever, kNever), cached(90)).result.history.front().parts.at("forward_kl");
  EXPECT_NEAR(first.parts.at("forward_kl"), whole, 0.2 * whole);  // a mean over its own tokens
}

TEST(Unsignalled, LossesOfTheTextKeepTheirWeightBesideTheTeachers) {
  DistillOptions mixed = cached(90), plain = quick(90);
  mixed.losses = {{"forward_kl", 0.7}, {"cross_entropy", 0.3}};
  const TokenDataset data = signalled(1, kNever);
  EXPECT_NEAR(trained(data, mixed).result.history.front().loss, trained(data, plain).result.history.front().loss, 1e-9);
}

TEST(Unsignalled, MassThatTheStudentLacksIsReported) {
  const TrainResult result = trained(signalled(kNever, 1), cached(400)).result;
  EXPECT_EQ(result.gaps->unsignalled, 0.0);
  EXPECT_NEAR(result.gaps->dropped_mass, 0.3, 1e-6);
  EXPECT_NEAR(result.history.front().gaps->dropped_mass, 0.3, 1e-6);
  EXPECT_EQ(trained(signalled(kNever, kNever), cached(400)).result.gaps->dropped_mass, 0.0);
}

TEST(Unsignalled, ShareAndMassSurviveAResume) {
  const TestFolder folder("unsignalled");
  const TokenDataset data = signalled(3, 2);
  const auto run = [&](bool resume, int64_t stop_after_steps) {
    CausalLM model = CausalLM::random(tiny_config(Family::Llama), 1);
    int64_t steps = 0;
    return train(model, byte_tokenizer(),
                 {.data = &data, .checkpoint_directory = folder.path(), .resume = resume, .seed = 3}, cached(400),
                 [&](const Event&) { return ++steps == stop_after_steps ? Flow::Stop : Flow::GoOn; });
  };
  const TrainResult straight = trained(data, cached(400)).result;
  EXPECT_THROW(run(false, 2), Error);
  const TrainResult resumed = run(true, -1);
  EXPECT_EQ(resumed.gaps->unsignalled, straight.gaps->unsignalled);
  EXPECT_EQ(resumed.gaps->dropped_mass, straight.gaps->dropped_mass);
  ASSERT_EQ(resumed.history.size(), straight.history.size());
  EXPECT_EQ(resumed.history[1].gaps->unsignalled, straight.history[1].gaps->unsignalled);
}

}  // namespace
}  // namespace attar
