// What people read and write: names that are nearly right, sizes, text that is shown.
#include <gtest/gtest.h>

#include <clocale>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "runtime/base/error.h"
#include "runtime/base/words/byte_size.h"
#include "runtime/base/words/suggestion.h"
#include "tests/test_folder.h"

namespace attar {
namespace {

TEST(Suggestion, TheNearestNameOrNone) {
  const std::vector<std::string> flags{"data", "learning-rate", "max-tokens", "temperature", "to", "top-k"};
  EXPECT_EQ(nearest("temprature", flags), "temperature");
  EXPECT_EQ(nearest("dtaa", flags), "data") << "two letters the other way round";
  EXPECT_EQ(nearest("learning_rate", flags), "learning-rate");
  EXPECT_EQ(nearest("Q4_KM", {"Q4_K", "Q4_K_M"}), "Q4_K_M") << "a separator is the least that one forgets";
  EXPECT_EQ(nearest("temp", flags), "temperature");
  EXPECT_EQ(nearest("learn", flags), "learning-rate") << "a beginning";
  EXPECT_EQ(nearest("lr", flags), "learning-rate") << "what others call it";
  EXPECT_EQ(nearest("max_new_tokens", flags), "max-tokens");
  EXPECT_EQ(nearest("zz", flags), "") << "two letters are near to no other two";
  EXPECT_EQ(nearest("perplexed", flags), "");
  EXPECT_EQ(suggestion("ffm", {"ffn", "layers"}), "; did you mean `ffn`?");
  EXPECT_EQ(suggestion("nothing", {"ffn", "layers"}), "; known keys: ffn, layers");
}

TEST(Suggestion, APathThatIsNearlyThere) {
  const TestFolder folder("words_test");
  std::filesystem::create_directories(folder / "models");
  EXPECT_EQ(nearest_path(folder / "model"), "did you mean " + (folder / "models") + "?");
  EXPECT_EQ(nearest_path(folder / "weights.gguf"), "");
  EXPECT_EQ(nearest_path(folder / "no/such/folder"), "");
}

std::string size_error(const std::string& text) {
  try {
    parse_size(text, "--target-size");
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

TEST(ByteSize, OneWayToReadThemAll) {
  for (const char* same : {"75MB", "75 MB", "75mb", "75.0 MB", "75000KB"})
    EXPECT_EQ(parse_size(same, ""), 75'000'000u) << same;
  EXPECT_EQ(parse_size("58MiB", ""), uint64_t{58} << 20);
  EXPECT_EQ(parse_size("1.5GB", ""), 1'500'000'000u);
  EXPECT_EQ(parse_size("12B", ""), 12u);
  EXPECT_EQ(size_error("80"), "--target-size: has no unit (expected 80MB, got 80)");
  EXPECT_EQ(size_error("60000000"), "--target-size: has no unit (expected 60000000B, got 60000000)");
  EXPECT_EQ(parse_size("1e3KB", ""), 1'000'000u);
  EXPECT_EQ(parse_size(".5kb", ""), 500u);
  EXPECT_EQ(parse_size("5.KB", ""), 5'000u);
  for (const char* wrong :
       {"", "MB", "-1MB", "60XB", "60MB or so", "nanMB", "1e99GB", "+1MB", " 1MB", "0x10MB", "1eMB", ".MB", "1e999MB"})
    EXPECT_NE(size_error(wrong).find("is not a size"), std::string::npos) << wrong;
}

TEST(ByteSize, AnAmountIsOneNumber) {
  double value = 0.0;
  const std::pair<const char*, double> numbers[] = {{"0.001", 0.001}, {"-2.5e-3", -2.5e-3}, {"1E2", 100.0},
                                                    {"5", 5.0},       {"4e-320", 4e-320},   {"0.1", 0.1},
                                                    {"0", 0.0},       {"0e9", 0.0}};
  for (const auto& [text, expected] : numbers) {
    EXPECT_TRUE(parse_amount("ffn", text, value)) << text;
    EXPECT_EQ(value, expected) << text;
  }
  for (const char* wrong :
       {"", "nan", "inf", "-", ".", "1e", "e1", "+1", " 1", "1 ", "0x10", "1e999", "1e-999", "60MB", "1,5"})
    EXPECT_FALSE(parse_amount("ffn", wrong, value)) << wrong;
  EXPECT_TRUE(parse_amount("bytes", "60MB", value));
  EXPECT_EQ(value, 60e6);
  EXPECT_FALSE(parse_amount("bytes", "60XB", value));
}

// A host may have set another locale, in which 1.5 ends behind the 1.
TEST(ByteSize, ReadsThePointInAnyLocale) {
  const std::string before = std::setlocale(LC_NUMERIC, nullptr);
  double value = 0.0;
  for (const char* name : {"de_DE.UTF-8", "fr_FR.UTF-8", "de_DE", "fr_FR", "C"}) {
    if (std::setlocale(LC_NUMERIC, name) == nullptr) continue;
    EXPECT_TRUE(parse_amount("ffn", "1.5", value)) << name;
    EXPECT_EQ(value, 1.5) << name;
    EXPECT_FALSE(parse_amount("ffn", "1,5", value)) << name;
    EXPECT_EQ(parse_size("1.5GB", ""), 1'500'000'000u) << name;
  }
  std::setlocale(LC_NUMERIC, before.c_str());
}

TEST(ByteSize, AsItIsShown) {
  EXPECT_EQ(size_text(812), "812 bytes");
  EXPECT_EQ(size_text(98'400'000), "98.4 MB");
  EXPECT_EQ(size_text(1'234'000'000), "1.23 GB");
}

TEST(Printable, KeepsUtf8) {
  EXPECT_EQ(printable("caf\u00e9 \u6587\u66f8.txt"), "caf\u00e9 \u6587\u66f8.txt");
  EXPECT_EQ(printable("a\x1b[31m\xff\u202e"), "a\\x1b[31m\\xff\\xe2\\x80\\xae");
  EXPECT_EQ(printable("\u00e9\u00e9\u00e9", 3), "\u00e9\u00e9...") << "never half a character";
}

}  // namespace
}  // namespace attar
