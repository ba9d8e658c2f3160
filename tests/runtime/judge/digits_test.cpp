#include "runtime/judge/digits.h"

#include <gtest/gtest.h>

#include <cmath>

#include "runtime/judge/headline.h"

namespace attar::runtime {
namespace {

TEST(Digits, AsManyAsAskedAndNoExponent) {
  EXPECT_EQ(with_digits(81339, 3), "81,300");
  EXPECT_EQ(with_digits(4170.4, 3), "4,170");
  EXPECT_EQ(with_digits(518.04, 3), "518");
  EXPECT_EQ(with_digits(0.0115793, 3), "0.0116");
  EXPECT_EQ(with_digits(9.996, 3), "10.0");
  EXPECT_EQ(with_digits(1234567, 2), "1,200,000");
  EXPECT_EQ(with_digits(-81339, 2), "-81,000");
  EXPECT_EQ(with_digits(0, 3), "0.00");
  EXPECT_EQ(with_digits(NAN, 3), "–");
}

TEST(Headline, APerplexityBeyondAllNumbersIsNone) {
  const std::vector<HeadlineRow> rows = fidelity_rows(
      R"({"kl": {"mean": 900.5, "stderr": null, "p50": 900.0, "p90": 901.0, "p99": 901.0, "max": 902.0},
          "perplexity": {"teacher": 7.5, "student": null, "ratio": null}, "dropped_mass": 0.0, "top1_agreement": 0.0,
          "top1_stderr": null, "top5_overlap": 0.0,
          "bits_per_byte": {"teacher": 1.0, "student": 400.0, "ratio": 400.0}})");
  EXPECT_EQ(rows.at(0).key, "perplexity");
  EXPECT_EQ(rows.at(0).teacher, "7.500");
  EXPECT_EQ(rows.at(0).student, "–");
  EXPECT_EQ(rows.at(0).ratio, "–");
  EXPECT_EQ(rows.at(1).student, "400.0");
}

TEST(Digits, AsManyAsTheSpreadLeaves) {
  EXPECT_EQ(with_spread(0.11579, 0.00233), "0.116 ± 0.002");
  EXPECT_EQ(with_spread(0.11579, 0.00196), "0.1158 ± 0.0020") << "a spread that begins with 1 has two digits";
  EXPECT_EQ(with_spread(81339, 2711), "81,000 ± 3,000");
  EXPECT_EQ(with_spread(6081.3, 40.2), "6,080 ± 40");
  EXPECT_EQ(with_spread(6081.3, 1402), "6,100 ± 1,400");
  EXPECT_EQ(to_spread(1.7834, 0.31), "1.8");
  EXPECT_EQ(with_spread(0.11579, 0.0), "0.116");
  EXPECT_EQ(with_spread(0.11579, NAN), "0.116");
}

}  // namespace
}  // namespace attar::runtime
