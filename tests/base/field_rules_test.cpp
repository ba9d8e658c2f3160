#include "runtime/base/field_rules.h"

#include <gtest/gtest.h>

#include <limits>

#include "runtime/base/words/byte_size.h"

namespace attar {
namespace {

struct Options {
  int64_t count = 4;
  double share = 0.5;
  std::string kind = "fast";
  std::optional<std::string> size{};
  std::vector<std::string> formats{"a"};
  std::optional<std::vector<int64_t>> places{};
  std::map<std::string, double> limits{};
};
template <class Visitor>
void visit_fields(Options& o, Visitor&& field) {
  field(o.count, "count", "");
  field(o.share, "share", "");
  field(o.kind, "kind", "");
  field(o.size, "size", "");
  field(o.formats, "formats", "");
  field(o.places, "places", "");
  field(o.limits, "limits", "");
}
const std::vector<FieldRule> kRules{{.field = "count", .least = 2, .or_zero = true, .multiple_of = 2},
                                    {.field = "share", .least = 0.0, .below = 1.0},
                                    {.field = "kind", .choices = {"fast", "best"}, .any_case = true},
                                    {.field = "size", .is_size = true},
                                    {.field = "formats", .choices = {"a", "b"}},
                                    {.field = "places", .least = 0, .filled = true},
                                    {.field = "limits", .least = 0.0, .keys = {"kl", "bytes"}}};

// "field: expected", or "" where nothing is wrong.
template <class Change>
std::string said(Change&& change) {
  Options options;
  change(options);
  const std::vector<FieldProblem> problems = broken_rules(options, kRules);
  return problems.empty() ? "" : problems.front().field + ": " + problems.front().expected;
}

TEST(FieldRules, SayWhatAValueMayBe) {
  EXPECT_EQ(said([](Options&) {}), "");
  EXPECT_EQ(said([](Options& o) { o.count = 0; }), "");
  EXPECT_EQ(said([](Options& o) { o.count = 3; }), "count: a multiple of 2 of at least 2, or 0");
  EXPECT_EQ(said([](Options& o) { o.share = 1.0; }), "share: 0 <= x < 1");
  EXPECT_EQ(said([](Options& o) { o.share = std::numeric_limits<double>::quiet_NaN(); }), "share: 0 <= x < 1");
  EXPECT_EQ(said([](Options& o) { o.kind = "BEST"; }), "");
  EXPECT_EQ(said([](Options& o) { o.kind = "slow"; }), "kind: fast or best");
  EXPECT_EQ(said([](Options& o) { o.size = "60XB"; }).substr(0, 14), "size: a number");
  EXPECT_EQ(said([](Options& o) { o.size = "60MB"; }), "");
  EXPECT_EQ(said([](Options& o) { o.formats = {"a", "c"}; }), "formats: a or b");
  EXPECT_EQ(said([](Options& o) { o.places = {3, 0}; }), "");
  EXPECT_EQ(said([](Options& o) { o.places.emplace(); }), "places: at least one number");
  EXPECT_EQ(said([](Options& o) { o.places = {3, -1}; }), "places: a whole number of at least 0");
  EXPECT_EQ(said([](Options& o) { o.limits = {{"kl", -1.0}}; }), "limits.kl: at least 0");
  EXPECT_EQ(said([](Options& o) { o.limits = {{"ppl", 1.0}}; }), "limits.ppl: kl or bytes");
}

TEST(ByteSize, EntriesOfThatNameTakeSizes) {
  double value = 0;
  EXPECT_TRUE(parse_amount("bytes", "60MB", value) && value == 60e6);
  EXPECT_TRUE(parse_amount("bytes", "1.5KiB", value) && value == 1536);
  EXPECT_TRUE(parse_amount("kl", "0.25", value) && value == 0.25);
  EXPECT_FALSE(parse_amount("kl", "60MB", value) || parse_amount("bytes", "60XB", value) ||
               parse_amount("kl", "inf", value));
}

}  // namespace
}  // namespace attar
