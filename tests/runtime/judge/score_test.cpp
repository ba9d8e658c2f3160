#include "runtime/judge/score.h"

#include <gtest/gtest.h>

#include <cmath>

#include "runtime/base/error.h"
#include "runtime/text/generate.h"
#include "tests/runtime/spoken_model.h"
#include "tests/runtime/tiny_model.h"

namespace attar::runtime {
namespace {

TEST(Score, EqualsThePlainForwardPass) {
  ThreadPool pool(2);
  const ModelFile file = tiny_model(tiny_config({}), {});
  const Model model = Model::load(file, {.numerics = Numerics::Fp32}, pool);
  Workspace work(model, pool);
  std::vector<int32_t> tokens;
  for (int32_t i = 0; i < 131; ++i) tokens.push_back((i * i + 3) % 32);  // more than two passes of 64 rows
  const auto logits = forward_reference(file, tokens);
  const std::vector<double> scores = score_tokens(model, tokens, work);
  ASSERT_EQ(scores.size(), tokens.size());
  EXPECT_TRUE(std::isnan(scores[0]));
  for (size_t i = 1; i < tokens.size(); ++i) {
    double sum = 0.0;
    for (const double x : logits[i - 1]) sum += std::exp(x);
    EXPECT_NEAR(scores[i], logits[i - 1][static_cast<size_t>(tokens[i])] - std::log(sum), 1e-4) << i;
  }
  EXPECT_TRUE(score_tokens(model, {}, work).empty());
  const std::vector<double> one = score_tokens(model, std::span(tokens).first(1), work);
  ASSERT_EQ(one.size(), 1u);
  EXPECT_TRUE(std::isnan(one[0]));
}

// Weights that are finite one by one; 7e38 is no float.
TEST(Score, RefusesLogitsThatAreNotFinite) {
  ThreadPool pool(2);
  const ModelFile file = successor_model(spoken_tokenizer({"a", "b", "c"}), 7e38);
  for (const Numerics numerics : {Numerics::Fp32, Numerics::Deployed}) {
    const Model model = Model::load(file, {.numerics = numerics}, pool);
    Workspace work(model, pool);
    const std::vector<int32_t> tokens{1, 3, 4};
    try {
      score_tokens(model, tokens, work);
      FAIL() << "no error";
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::Input);
      EXPECT_NE(std::string(error.what()).find("spoken: the model's logits are not finite"), std::string::npos)
          << error.what();
    }
    KvCache cache(model);
    EXPECT_THROW(generate(model, cache, tokens, {}, work), Error);
  }
}

TEST(Score, AsksBetweenPasses) {
  ThreadPool pool(1);
  const Model model = Model::load(tiny_model(tiny_config({}), {}), {.numerics = Numerics::Fp32}, pool);
  Workspace work(model, pool);
  const std::vector<int32_t> tokens(200, 3);
  std::vector<int64_t> done;
  const Progress stop_at_two = [&](const Event& event) {
    EXPECT_EQ(event.unit, "tokens");
    EXPECT_EQ(event.total, 199);
    done.push_back(event.done);
    return done.size() == 2 ? Flow::Stop : Flow::GoOn;
  };
  try {
    score_tokens(model, tokens, work, stop_at_two);
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::Interrupted);
  }
  EXPECT_EQ(done, (std::vector<int64_t>{64, 128}));
}

// A prompt of three passes: stopped after the first, as if it had not begun.
TEST(Score, ALongPromptAsksBetweenPasses) {
  ThreadPool pool(1);
  const Model model = Model::load(successor_model(spoken_tokenizer({"a", "b", "c"}), 20.0, 4096), {}, pool);
  Workspace work(model, pool);
  const std::vector<int32_t> prompt(1300, 3);
  KvCache stopped(model), whole(model);
  std::vector<int64_t> done;
  const auto stop = [&](const Event& event) {
    done.push_back(event.done);
    return Flow::Stop;
  };
  EXPECT_THROW(generate(model, stopped, prompt, {}, work, {}, stop), Error);
  EXPECT_EQ(done, std::vector<int64_t>{512});
  EXPECT_EQ(stopped.length_tokens(), 0);
  done.clear();
  const Progress count = [&](const Event& event) {
    done.push_back(event.done);
    return Flow::GoOn;
  };
  GenerateOptions three;
  three.max_tokens = 3;
  generate(model, whole, prompt, three, work, {}, count);
  EXPECT_EQ(done, (std::vector<int64_t>{512, 1024, 1300}));
}

}  // namespace
}  // namespace attar::runtime
