#include "runtime/score.h"

#include <gtest/gtest.h>

#include <cmath>

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

}  // namespace
}  // namespace attar::runtime
