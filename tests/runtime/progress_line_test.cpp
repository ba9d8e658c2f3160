#include "runtime/cli/terminal/progress_line.h"

#include <gtest/gtest.h>

namespace attar::cli {
namespace {

// 40 % of 12 million tokens in the fourth of seven stages; two hours of others behind it.
Event training() {
  Event event{.stage = "distill", .unit = "tokens", .done = 4800000, .total = 12000000};
  event.metrics = {{"loss", 0.0934},        {"forward_kl", 0.0934},    {"agreement", 0.674}, {"gradient_norm", 0.9},
                   {"learning_rate", 3e-4}, {"tokens_per_s", 1801.25}, {"memory_mb", 1057.3}};
  event.part = 4, event.parts = 7, event.later_s = 7200.0;
  return event;
}

constexpr double kRate = 1783.0;  // tokens/s: 7.2 million take 4,038 s, 1:07:18

TEST(ProgressLine, ATerminalOfEightyColumnsShowsWhatMatters) {
  EXPECT_EQ(live_line(training(), kRate, 79, StageName::Plain),
            "4/7 distill  40% KL 0.0934, top-1 67%, 1783 tokens/s, 1:07:18 left, 1.06 GB");
}

TEST(ProgressLine, AWiderOneShowsABarAndThenTheRest) {
  const std::string begin = "4/7 distill ━━━━╌╌╌╌╌╌  40% KL 0.0934, top-1 67%, 1783 tokens/s, 1:07:18 left, 1.06 GB";
  EXPECT_EQ(live_line(training(), kRate, 99, StageName::Plain), begin);
  EXPECT_EQ(live_line(training(), kRate, 200, StageName::Plain),
            begin + ", 4800000/12000000 tokens, 3:07:18 in all, learning rate 0.0003, gradient 0.9");
}

TEST(ProgressLine, WhatHasNoRoomIsLeftOutWhole) {
  EXPECT_EQ(live_line(training(), kRate, 45, StageName::Plain), "4/7 distill  40% KL 0.0934, top-1 67%");
  EXPECT_EQ(live_line(training(), kRate, 38, StageName::Plain), "4/7 distill  40% KL 0.0934, top-1 67%");
  EXPECT_EQ(live_line(training(), kRate, 36, StageName::Plain), "4/7 distill  40% KL 0.0934, 1.06 GB");
  EXPECT_EQ(live_line(training(), kRate, 10, StageName::Plain), "4/7 distill  40%");
}

TEST(ProgressLine, SeveralLossesAreOneFirst) {
  Event event = training();
  event.part = event.parts = 0;
  event.metrics = {{"loss", 0.7}, {"cross_entropy", 2.0}, {"jsd", 0.5}, {"held_out", 0.75}, {"memory_mb", 512.4}};
  EXPECT_EQ(live_line(event, 0.0, 29, StageName::Plain), "distill  40% loss 0.7, 512 MB");
  EXPECT_EQ(
      live_line(event, 0.0, 200, StageName::Plain),
      "distill ━━━━╌╌╌╌╌╌  40% loss 0.7, 512 MB, 4800000/12000000 tokens, cross_entropy 2, jsd 0.5, held out 0.75");
}

TEST(ProgressLine, AStepTellsItsSpeedBeforeTheStageHasOne) {
  const std::string line = live_line(training(), 0.0, 79, StageName::Plain);
  EXPECT_NE(line.find("1801 tokens/s"), std::string::npos) << line;
  EXPECT_EQ(line.find("left"), std::string::npos) << line;
}

TEST(ProgressLine, OtherCallsShowTheirCounts) {
  const Event event{.stage = "eval", .unit = "tokens", .done = 24057, .total = 24000};
  EXPECT_EQ(live_line(event, 0.0, 59, StageName::Bold), "\033[1meval\033[0m ━━━━━━━━━━ 100% 24057/24000 tokens");
  const Event bytes{.stage = "fetch", .unit = "bytes", .done = 5000000, .total = 10000000};
  EXPECT_EQ(live_line(bytes, 1e6, 59, StageName::Plain), "fetch ━━━━━╌╌╌╌╌  50% 1 MB/s, 0:05 left, 5.0/10.0 MB");
  EXPECT_EQ(live_line({.stage = "verify", .unit = "tokens"}, 0.0, 59, StageName::Plain), "verify ...");
  EXPECT_EQ(live_line({.stage = "verify", .unit = "tokens", .done = 12}, 0.0, 59, StageName::Plain),
            "verify 12 tokens");
}

TEST(ProgressLine, APlainOneTellsAllOfItOnce) {
  EXPECT_EQ(plain_line(training(), kRate),
            "stage 4 of 7: distill  40% 4800000/12000000 tokens, 1:07:18 left, 3:07:18 in all, 1783 tokens/s, "
            "forward_kl 0.0934, agreement 0.674, gradient_norm 0.9, learning_rate 0.0003, memory_mb 1057");
}

}  // namespace
}  // namespace attar::cli
