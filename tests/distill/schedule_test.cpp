#include "distill/optimizer/schedule.h"

#include <gtest/gtest.h>

#include "runtime/base/error.h"

namespace attar {
namespace {

// A peak of 1 after 100 of 1,000 tokens, an end at 0.2.
double rate(const std::string& schedule, int64_t tokens) {
  DistillOptions options;
  options.tokens = 1000, options.learning_rate = 1.0, options.warmup = 0.1, options.decay = 0.36;
  options.final_learning_rate_ratio = 0.2, options.schedule = schedule;
  return learning_rate_at(options, tokens);
}

TEST(Schedule, WarmUpIsLinearFromATenthInAll) {
  for (const std::string& name : schedule_names()) {
    EXPECT_DOUBLE_EQ(rate(name, 0), 0.1) << name;
    EXPECT_DOUBLE_EQ(rate(name, 5), 0.1) << name;
    EXPECT_DOUBLE_EQ(rate(name, 50), 0.5) << name;
    EXPECT_DOUBLE_EQ(rate(name, 100), 1.0) << name;
  }
}

TEST(Schedule, ByHand) {
  struct Row {
    const char* schedule;
    int64_t tokens;
    double rate;
  };
  for (const Row& row : std::vector<Row>{{"cosine", 400, 0.8},  // a third: 0.2 + 0.8 * (1 + cos 60°) / 2
                                         {"cosine", 550, 0.6},
                                         {"cosine", 1000, 0.2},
                                         {"linear", 325, 0.8},
                                         {"linear", 550, 0.6},
                                         {"linear", 1000, 0.2},
                                         {"constant", 550, 1.0},
                                         {"constant", 1000, 1.0},
                                         {"wsd", 639, 1.0},  // falls from 640 on
                                         {"wsd", 730, 0.6},  // a quarter of the decay: 1 - 1/2
                                         {"wsd", 1000, 0.2}})
    EXPECT_NEAR(rate(row.schedule, row.tokens), row.rate, 1e-12) << row.schedule << " " << row.tokens;
}

// A last step may begin where no token is left.
TEST(Schedule, StaysAtItsEnd) {
  for (const char* name : {"cosine", "linear", "wsd"}) EXPECT_DOUBLE_EQ(rate(name, 1300), 0.2) << name;
}

TEST(Schedule, UnknownOnesAreSaid) {
  EXPECT_THROW(rate("cosin", 500), Error);
}

}  // namespace
}  // namespace attar
