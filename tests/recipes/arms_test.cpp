#include "recipes/arms/arms.h"

#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "recipes/arms/arms_results.h"
#include "recipes/report/report.h"
#include "recipes/schema/option_checks.h"

namespace attar {
namespace {

using Json = nlohmann::json;

// Two windows of ten positions; `kl` and `nll` nats a token, the second window a tenth more than the first.
JudgedArm judged(const Arm& arm, uint64_t seed, double kl, double nll) {
  const auto windows = [](double mean) { return std::vector<runtime::WindowSum>{{9.5 * mean, 10}, {10.5 * mean, 10}}; };
  JudgedArm out{.arm = arm, .seed = seed, .tokens = 1000, .kl = windows(kl), .nll = windows(nll), .top1 = windows(0.5)};
  out.teacher_nll = 1.0, out.text_sha256 = "ab", out.context = 16, out.scored_tokens = 20;
  return out;
}

constexpr Arm kScratchCe{false, false}, kScratchKd{false, true}, kCe{true, false}, kKd{true, true};

Json results(double ce_kl, double kd_kl, double ce_nll, double kd_nll) {
  return Json::parse(arms_results({judged(kScratchCe, 7, 3.0, 4.0), judged(kScratchKd, 7, 2.0, 4.0),
                                   judged(kCe, 7, ce_kl, ce_nll), judged(kKd, 7, kd_kl, kd_nll)},
                                  kKd, 7));
}

TEST(Arms, AreFourOrTwo) {
  std::vector<std::string> names;
  for (const Arm& arm : arms_of(false)) names.push_back(name_of(arm));
  EXPECT_EQ(names, (std::vector<std::string>{"scratch-CE", "scratch-KD", "initialised-CE", "initialised-KD"}));
  EXPECT_EQ(arms_of(true), (std::vector<Arm>{kScratchCe, kScratchKd}));
}

TEST(Arms, PlainTrainingIsCrossEntropyWithItsOwnSettings) {
  DistillOptions options;
  options.losses = {{"forward_kl", 1.0}, {"jsd", 0.5}, {"cross_entropy", 0.1}};
  options.loss_settings = {{"jsd_beta", 0.3}, {"label_smoothing", 0.1}};
  options.temperature = 2.0, options.learning_rate = 5e-4, options.signal = "online", options.tokens = 77;
  const DistillOptions plain = cross_entropy_alone(options);
  EXPECT_EQ(plain.losses, (std::map<std::string, double>{{"cross_entropy", 1.0}}));
  EXPECT_EQ(plain.loss_settings, (std::map<std::string, double>{{"label_smoothing", 0.1}}));
  EXPECT_EQ(plain.temperature, 1.0);
  EXPECT_EQ(plain.learning_rate, 5e-4);
  EXPECT_EQ(plain.tokens, 77);
  EXPECT_TRUE(problems_of(plain).empty());
}

TEST(Arms, RowsHoldMeansAndPairedDifferences) {
  const Json arms = results(1.5, 0.5, 2.5, 2.25);
  EXPECT_EQ(arms.at("asked"), "initialised-KD");
  EXPECT_EQ(arms.at("seeds"), (Json{7}));
  ASSERT_EQ(arms.at("rows").size(), 4u);
  const Json &plain = arms.at("rows")[2], &asked = arms.at("rows")[3];
  EXPECT_EQ(plain.at("arm"), "initialised-CE");
  EXPECT_DOUBLE_EQ(plain.at("kl"), 1.5);
  EXPECT_DOUBLE_EQ(plain.at("perplexity"), std::exp(2.5));
  EXPECT_FALSE(asked.contains("difference"));
  // Windows' differences .95 and 1.05: the error of the mean is .05, and t(1) = 12.706.
  const Json& kl = plain.at("difference").at("kl");
  EXPECT_DOUBLE_EQ(kl.at("mean"), 1.0);
  EXPECT_NEAR(kl.at("low95"), 1.0 - 12.7062 * 0.05, 1e-9);
  EXPECT_NEAR(kl.at("high95"), 1.0 + 12.7062 * 0.05, 1e-9);
  EXPECT_DOUBLE_EQ(plain.at("difference").at("top1_agreement").at("mean"), 0.0);
}

TEST(Arms, TheVerdictIsOneHonestSentence) {
  EXPECT_EQ(results(1.5, 0.5, 2.5, 2.25).at("verdict"),
            "Distilling beat plain training in KL to the teacher by 1.0 nats a token (95 %: 0.4 to 1.6), and beat it "
            "in cross-entropy on the same text by 0.25 nats a token (95 %: 0.09 to 0.41).");
  const std::string lost = results(0.5, 1.5, 2.5, 3.0).at("verdict");
  EXPECT_NE(lost.find("lost to plain training in KL to the teacher by 1.0 nats a token (95 %: 0.4 to 1.6)"),
            std::string::npos)
      << lost;
  EXPECT_NE(lost.find("lost to it in cross-entropy on the same text by 0.5"), std::string::npos) << lost;
  const std::string even = results(1.0, 1.0, 2.5, 2.5).at("verdict");
  EXPECT_NE(even.find("was neither surely better nor worse than plain training in KL to the teacher: ahead by 0"),
            std::string::npos)
      << even;
}

TEST(Arms, SeedsAreRepeats) {
  std::vector<JudgedArm> all;
  for (const uint64_t seed : {8, 7})  // as they are trained: the first seed of the arm that was asked for comes last
    for (const Arm& arm : {kScratchCe, kScratchKd})
      all.push_back(judged(arm, seed, arm.taught ? 1.0 : 1.0 + 0.1 * static_cast<double>(seed), 2.0));
  const Json arms = Json::parse(arms_results(all, kScratchKd, 7));
  EXPECT_EQ(arms.at("seeds"), (Json{7, 8}));
  const Json& plain = arms.at("rows")[0];
  EXPECT_NEAR(plain.at("kl"), 1.75, 1e-12);
  EXPECT_EQ(plain.at("by_seed")[1].at("seed"), 8);
  EXPECT_NEAR(plain.at("by_seed")[1].at("kl"), 1.8, 1e-12);
  const Json& kl = plain.at("difference").at("kl");  // .7 and .8: t(1) = 12.706 times .05, and the windows' .0375
  EXPECT_NEAR(kl.at("high95").get<double>() - 0.75, std::hypot(12.7062 * 0.05, 12.7062 * 0.0375), 1e-9);
}

TEST(Arms, OneWindowHasNoIntervalAndSaysSo) {
  std::vector<JudgedArm> all;
  for (const Arm& arm : {kScratchCe, kScratchKd}) {
    all.push_back(judged(arm, 1, arm.taught ? 1.0 : 2.0, 2.0));
    for (auto* windows : {&all.back().kl, &all.back().nll, &all.back().top1}) windows->resize(1);
  }
  const Json arms = Json::parse(arms_results(all, kScratchKd, 1));
  EXPECT_TRUE(arms.at("rows")[0].at("difference").at("kl").at("low95").is_null());
  EXPECT_NE(arms.at("verdict").get<std::string>().find("one window"), std::string::npos);
  EXPECT_NE(arms_lines(arms.dump()).find("scratch-CE"), std::string::npos);
}

TEST(Arms, OptionsThatCannotBeComparedAreRefused) {
  const auto fields = [](const DistillStage& stage) {
    std::vector<std::string> out;
    for (const FieldProblem& problem : problems_of(stage)) out.push_back(problem.field);
    return out;
  };
  DistillStage stage;
  stage.arms = true, stage.arm_seeds = 3;
  EXPECT_TRUE(fields(stage).empty());
  stage.arms = false;
  EXPECT_EQ(fields(stage), (std::vector<std::string>{"arm_seeds"}));
  stage.arms = true, stage.arm_seeds = 0;
  EXPECT_EQ(fields(stage), (std::vector<std::string>{"arm_seeds"}));
  stage.arm_seeds = 1, stage.patience = 2, stage.held_out_tokens = 100;
  EXPECT_EQ(fields(stage), (std::vector<std::string>{"patience"}));
  stage.patience = 0, stage.losses = {{"cross_entropy", 1.0}, {"forward_kl", 0.0}};
  EXPECT_EQ(fields(stage), (std::vector<std::string>{"losses"}));
}

}  // namespace
}  // namespace attar
