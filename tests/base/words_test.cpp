// What people read and write: names that are nearly right, sizes, text that is shown.
#include <gtest/gtest.h>

#include <filesystem>

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
  for (const char* wrong : {"", "MB", "-1MB", "60XB", "60MB or so", "nanMB", "1e99GB"})
    EXPECT_NE(size_error(wrong).find("is not a size"), std::string::npos) << wrong;
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
