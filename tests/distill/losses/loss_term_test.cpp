#include "distill/losses/loss_term.h"

#include <gtest/gtest.h>

#include "distill/losses/taid.h"

namespace attar {
namespace {

TEST(LossTerm, SettingsReachTheirForms) {
  const auto form = [](const char* name, const LossSettings& settings) {
    return loss_terms({{name, 1.0}}, settings, 1.0, 0.25).at(0).form;
  };
  EXPECT_EQ(std::get<GeneralizedJsd>(form("jsd", {})).beta, 0.5);
  EXPECT_EQ(std::get<GeneralizedJsd>(form("jsd", {{"jsd_beta", 0.2}})).beta, 0.2);
  EXPECT_EQ(std::get<SkewForwardKl>(form("skew_forward_kl", {{"skew_alpha", 0.3}})).alpha, 0.3);
  EXPECT_EQ(std::get<SkewReverseKl>(form("skew_reverse_kl", {{"skew_alpha", 0.3}})).alpha, 0.3);
  EXPECT_EQ(std::get<AdaptiveKl>(form("adaptive_kl", {{"head_mass", 0.9}})).head_mass, 0.9);
  EXPECT_EQ(std::get<Taid>(form("taid", {})).share, 0.25);
  EXPECT_EQ(std::get<CrossEntropy>(form("cross_entropy", {{"label_smoothing", 0.1}})).label_smoothing, 0.1);
  EXPECT_EQ(std::get<CrossEntropy>(form("cross_entropy", {{"z_loss", 0.01}})).z_loss, 0.01);
}

TEST(LossTerm, CrossEntropyHasNoTemperature) {
  EXPECT_EQ(temperature_of("cross_entropy", {}, 3.0), 1.0);
  EXPECT_EQ(temperature_of("jsd", {}, 3.0), 3.0);
  EXPECT_EQ(temperature_of("jsd", {{"jsd_temperature", 2.0}}, 3.0), 2.0);
}

TEST(LossSetting, SaysItsRange) {
  for (const LossSetting& each : loss_settings()) {
    EXPECT_TRUE(each.usual == 0.0 || each.holds(each.usual)) << each.name;
    EXPECT_FALSE(each.holds(-0.1)) << each.name;
    EXPECT_FALSE(each.holds(each.most * 1.01)) << each.name;
    EXPECT_EQ(each.holds(each.most), each.ends) << each.name;
    for (const std::string& kind : each.of) EXPECT_NE(find_loss(kind), nullptr) << kind;
  }
}

TEST(Taid, TheTargetMovesWithTheTrainingAndAheadOfItWhileTheLossFalls) {
  const LossSettings settings{{"taid_rate", 0.1}, {"taid_momentum", 0.5}};
  TaidState state;
  EXPECT_EQ(taid_share(state, settings), 0.4);
  advance_taid(state, settings, 2.0, 0.0);  // no fall yet: sigmoid(0) = 1/2
  EXPECT_NEAR(state.share, 0.4 + 0.1 * 0.5 * 0.6, 1e-12);
  advance_taid(state, settings, 1.0, 0.0);  // it fell by half
  EXPECT_NEAR(state.momentum, 0.25, 1e-12);
  EXPECT_NEAR(state.share, 0.43 + 0.1 / (1.0 + std::exp(-0.25)) * 0.57, 1e-12);
  advance_taid(state, settings, 1.0, 0.9);  // the training is ahead
  EXPECT_NEAR(state.share, 0.4 + 0.6 * 0.9, 1e-12);
  advance_taid(state, settings, 1.0, 1.0);
  EXPECT_EQ(state.share, 1.0);
}

}  // namespace
}  // namespace attar
