#include "runtime/judge/gates.h"

#include <gtest/gtest.h>

#include <set>

#include "runtime/base/error.h"

namespace attar::runtime {
namespace {

TEST(Gates, AreMaximaAndMinima) {
  VerifyResults results;
  results.deployed.emplace();
  results.deployed->kl.mean = 0.2;
  results.deployed->top1_agreement = 0.8;
  results.deployed->perplexity.ratio = 1.5;
  results.deployed->bits_per_byte.ratio = 1.1;
  Efficiency slow, fast;
  slow.decode.tokens_per_s = 10, fast.decode.tokens_per_s = 25;
  const auto passes = [&](const char* name, double limit) {
    const std::vector<GateResult> got = judge({{name, limit}}, results, slow, fast, 1000);
    EXPECT_EQ(got.size(), 1u);
    EXPECT_EQ(got[0].limit, limit);
    const bool least = std::set<std::string>{"top1", "decode_ratio", "accuracy_ratio", "agreement"}.contains(name);
    EXPECT_EQ(got[0].limit_is, least ? Limit::AtLeast : Limit::AtMost);
    return got[0].pass;
  };
  EXPECT_TRUE(passes("kl", 0.2) && passes("ppl_ratio", 1.5) && passes("bits_per_byte_ratio", 1.2) &&
              passes("bytes", 1000));
  EXPECT_FALSE(passes("kl", 0.19) || passes("ppl_ratio", 1.4) || passes("bits_per_byte_ratio", 1.0) ||
               passes("bytes", 999));
  EXPECT_TRUE(passes("top1", 0.8) && passes("decode_ratio", 2.5));
  EXPECT_FALSE(passes("top1", 0.81) || passes("decode_ratio", 2.6));
  EXPECT_THROW(passes("agreement", 0.5), Error);  // nobody answered anything
  results.tasks = {{.items = 10, .teacher = 0.8, .student = 0.4, .agreement = 0.5},
                   {.items = 30, .teacher = 0.2, .student = 0.2, .agreement = 0.9}};
  EXPECT_TRUE(passes("accuracy_ratio", 0.59) && passes("agreement", 0.79));  // 0.3 of 0.5; 32 of 40 items
  EXPECT_FALSE(passes("accuracy_ratio", 0.61) || passes("agreement", 0.81));
  EXPECT_THROW(passes("kll", 1), Error);
  EXPECT_THROW(judge({{"decode_ratio", 1}}, results, slow, std::nullopt, 1000), Error);
  EXPECT_THROW(check_gates({{"kl", 1}}, {.numerics = "fp32"}, true), Error);
  EXPECT_THROW(check_gates({{"decode_ratio", 1}}, {}, false), Error);
  EXPECT_THROW(check_gates({}, {.numerics = "fp23"}, false), Error);
  EXPECT_THROW(check_gates({{"agreement", 1}}, {}, false), Error);
  EXPECT_NO_THROW(check_gates({{"agreement", 1}}, {.tasks = {"items.jsonl"}}, false));
  EXPECT_NO_THROW(check_gates({{"kl", 1}, {"bytes", 1}}, {}, false));
}

}  // namespace
}  // namespace attar::runtime
