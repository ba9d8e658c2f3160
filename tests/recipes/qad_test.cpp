#include "recipes/run/qad.h"

#include <gtest/gtest.h>

#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "recipes/schema/option_checks.h"

namespace attar {
namespace {

using LossWeights = std::map<std::string, double>;

std::vector<FieldProblem> problems_with(const LossWeights& losses) {
  QuantizeOptions options;
  options.to = "Q4_0", options.preset = "learned", options.qad.losses = losses;
  return problems_of(options);
}

TEST(Qad, LearnsByTheLossesThatAreAskedFor) {
  QadOptions options;
  EXPECT_EQ(qad_training(options).losses, DistillOptions().losses);
  options.losses = {{"forward_kl", 0.5}, {"jsd", 0.5}, {"cross_entropy", 0.1}};
  EXPECT_EQ(qad_training(options).losses, options.losses);
  EXPECT_TRUE(problems_with(options.losses).empty());
  EXPECT_TRUE(problems_with({{"taid", 1.0}, {"forward_kl", 0.0}}).empty());
}

TEST(Qad, RefusesLossesThatItCannotLearnBy) {
  struct Refused {
    LossWeights losses;
    std::string field, words;
  };
  const std::vector<Refused> all = {
      {{{"forward_kl", 2.0}, {"jsd", -1.0}}, "qad_losses.jsd", "at least 0"},
      {{{"jds", 1.0}}, "qad_losses.jds", "forward_kl, reverse_kl"},
      {{{"forward_kl", 1.0}, {"uld", 0.5}}, "qad_losses.uld", "compare two tokenizers"},
      {{{"aligned_likelihood", 1.0}}, "qad_losses.aligned_likelihood", "compare two tokenizers"},
      {{{"forward_kl", 0.0}, {"jsd", 0.0}}, "qad_losses", "at least one loss with a weight above 0"},
      {{}, "qad_losses", "at least one loss with a weight above 0"},
      {{{"cross_entropy", 1.0}}, "qad_losses", "a loss that asks the teacher"},
  };
  for (const Refused& one : all) {
    const std::vector<FieldProblem> problems = problems_with(one.losses);
    ASSERT_EQ(problems.size(), 1u) << one.field << " " << one.words;
    EXPECT_EQ(problems[0].field, one.field);
    EXPECT_NE(problems[0].expected.find(one.words), std::string::npos) << problems[0].expected;
  }
}

TEST(Qad, SaysWhatADistillStageSays) {
  for (const LossWeights& losses : std::vector<LossWeights>{{}, {{"forward_kl", 3.0}, {"jsd", -1.0}}}) {
    DistillOptions distill;
    distill.losses = losses;
    const std::vector<FieldProblem> said = problems_with(losses), of_distill = problems_of(distill);
    ASSERT_EQ(said.size(), 1u);
    ASSERT_EQ(of_distill.size(), 1u);
    EXPECT_EQ(said[0].field, "qad_" + of_distill[0].field);
    EXPECT_EQ(said[0].expected, of_distill[0].expected);
  }
}

// By forward KL alone a step's loss is the divergence; in a mix it is what was measured.
TEST(Qad, TellsOfTheDivergenceWhateverItLearnsBy) {
  TrainResult trained;
  for (int i = 0; i < 20; ++i) {
    TrainStep step{.step = i, .tokens = 10 * (i + 1), .loss = 7.0};
    step.parts = {{"forward_kl", i < 10 ? 2.0 : 1.0}, {"jsd", 0.5}};
    trained.history.push_back(step);
  }
  QadOptions options;
  const auto told = [&](const char* key) { return nlohmann::json::parse(qad_results(trained, options)).at(key); };
  EXPECT_EQ(told("kl_before").get<double>(), 7.0);
  for (const LossWeights& losses : std::vector<LossWeights>{{{"jsd", 1.0}}, {{"jsd", 0.5}, {"forward_kl", 0.5}}}) {
    options.losses = losses;
    EXPECT_EQ(told("kl_before").get<double>(), 2.0);
    EXPECT_EQ(told("kl_after").get<double>(), 1.0);
  }
  trained.history.front().parts.erase("forward_kl");  // no token of it had a signal
  EXPECT_EQ(told("kl_before").get<double>(), 2.0);
  for (TrainStep& step : trained.history) step.parts.erase("forward_kl");
  EXPECT_TRUE(told("kl_after").is_null());
}

}  // namespace
}  // namespace attar
