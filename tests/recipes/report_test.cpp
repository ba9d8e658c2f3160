#include "recipes/report/report.h"

#include <gtest/gtest.h>

namespace attar {
namespace {

std::string page(const std::string& results) {
  return report_html(R"({"name": "n", "results": {"provenance": {"attar_version": "0"}, "recipe": "", "stages": [
      {"kind": "quantize", "name": "0-quantize", "notes": [], "results": )" +
                     results + R"(}]}, "measurements": {"stages": [{"measurements": {}}], "machine": {}}})");
}

// A run that an earlier version began has stages whose results say less.
TEST(Report, ShowsAQuantizeStageWithAndWithoutBits) {
  EXPECT_EQ(page("{}").find("0-quantize: bits a weight"), std::string::npos);
  const std::string shown = page(R"({"bits": {"query": [4.5, 8.5]}})");
  EXPECT_NE(shown.find("0-quantize: bits a weight"), std::string::npos);
  EXPECT_NE(shown.find("8.5 bits"), std::string::npos);
}

TEST(Report, SaysThatErrorsAreOfCodesThatHadNotLearned) {
  const std::string one = R"({"role": "query", "relative_error": 0.01})",
                    tensors = "\"tensors\": [" + one + ", " + one + "]";
  EXPECT_EQ(page("{" + tensors + "}").find("before the codes learned"), std::string::npos);
  EXPECT_NE(page("{" + tensors + R"(, "qad": {}})").find("before the codes learned"), std::string::npos);
}

}  // namespace
}  // namespace attar
