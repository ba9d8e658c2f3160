// The hand-written scanners against the expressions themselves, run by PCRE2 over every piece the one before it left.
#define PCRE2_CODE_UNIT_WIDTH 8
#include "runtime/formats/tokenizer/split.h"

#include <gtest/gtest.h>
#include <pcre2.h>

#include <map>

#include "runtime/base/random.h"
#include "runtime/formats/tokenizer/unicode.h"

namespace attar {
namespace {

using Pieces = std::vector<std::string>;

const char* const kGpt2 = R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S))";
const char* const kLlama3 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
const char* const kQwen2 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
const char* const kQwen35 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
const char* const kSeedCoder =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1}| ?[^\s\p{L}\p{N}\r\n]+|\s*[\r\n]+|\s+(?!\S)|\s+)";
const char* const kBailing =
    R"('(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+)";
const char* const kMiniCpm5 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}+| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
const char* const kTekken =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
const char* const kGpt4o =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
const char* const kDeepSeekV3 =
    R"([!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
const std::map<std::string, std::vector<const char*>> kExpressions = {
    {"gpt-2", {kGpt2}},
    {"smollm", {R"(\p{N})", kGpt2}},
    {"llama-bpe", {kLlama3}},
    {"qwen2", {kQwen2}},
    {"qwen35", {kQwen35}},
    {"seed-coder", {kSeedCoder}},
    {"bailingmoe", {kBailing}},
    {"minicpm5", {R"(\p{N}{1,3})", kMiniCpm5}},
    {"tekken", {kTekken}},
    {"gpt-4o", {kGpt4o}},
    {"deepseek-v3", {R"(\p{N}{1,3})", R"([\x{4E00}-\x{9FA5}\x{3040}-\x{309F}\x{30A0}-\x{30FF}]+)", kDeepSeekV3}},
    {"deepseek-coder",
     {R"([\r\n])", R"(\s?\p{L}+)", R"(\s?\p{P}+)", R"([\x{4E00}-\x{9FA5}\x{0800}-\x{4E00}\x{AC00}-\x{D7FF}]+)",
      R"(\p{N})"}},
    {"falcon", {R"([\p{P}\$\+<=>\^~\|`]+)", kGpt2, "[0-9][0-9][0-9]"}},
    {"default", {R"([\p{P}\$\+<=>\^~\|]+)", kGpt2, R"(\p{N}+)", "[0-9][0-9][0-9]"}},
};

class Expression {
 public:
  explicit Expression(const char* pattern) {
    int error = 0;
    PCRE2_SIZE at = 0;
    code_ = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern), PCRE2_ZERO_TERMINATED, PCRE2_UTF | PCRE2_UCP, &error,
                          &at, nullptr);
    match_ = pcre2_match_data_create_from_pattern(code_, nullptr);
  }
  ~Expression() {
    pcre2_match_data_free(match_);
    pcre2_code_free(code_);
  }
  Expression(const Expression&) = delete;
  Expression& operator=(const Expression&) = delete;

  // Matches and the gaps between them.
  Pieces split(const std::string& text) const {
    Pieces pieces;
    size_t at = 0;
    const auto put = [&](size_t begin, size_t end) {
      if (end > begin) pieces.push_back(text.substr(begin, end - begin));
    };
    while (pcre2_match(code_, reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), at, PCRE2_NO_UTF_CHECK, match_,
                       nullptr) > 0) {
      const PCRE2_SIZE* range = pcre2_get_ovector_pointer(match_);
      put(at, range[0]), put(range[0], range[1]);
      at = range[1];
    }
    put(at, text.size());
    return pieces;
  }

 private:
  pcre2_code* code_;
  pcre2_match_data* match_;
};

Pieces split_reference(const std::vector<const char*>& expressions, const std::string& text) {
  Pieces pieces = {text};
  if (text.empty()) return {};
  for (const char* pattern : expressions) {
    static std::map<std::string, Expression> compiled;
    const Expression& expression = compiled.try_emplace(pattern, pattern).first->second;
    Pieces next;
    for (const std::string& piece : pieces)
      for (std::string& part : expression.split(piece)) next.push_back(std::move(part));
    pieces = std::move(next);
  }
  return pieces;
}

Pieces split(const std::string& pre, const std::string& text) {
  Pieces pieces;
  find_split(pre)(text, [&](std::string_view piece) { pieces.emplace_back(piece); });
  return pieces;
}

TEST(Split, ByHand) {
  EXPECT_EQ(split("gpt-2", "I'll go  12 !?\n x"), (Pieces{"I", "'ll", " go", " ", " 12", " !?", "\n", " x"}));
  EXPECT_EQ(split("smollm", "a 12  3"), (Pieces{"a", " ", "1", "2", "  ", "3"}));
  EXPECT_EQ(split("llama-bpe", "IT'S 12345\n\n (x)"), (Pieces{"IT", "'S", " ", "123", "45", "\n\n", " (", "x", ")"}));
  EXPECT_EQ(split("qwen2", "\tx 12"), (Pieces{"\tx", " ", "1", "2"}));
  EXPECT_EQ(split("gpt-2", ""), Pieces{});
  EXPECT_EQ(find_split("none"), nullptr);
}

TEST(Split, EqualsTheExpressionsOnRandomText) {
  const char* const parts[] = {
      "a",      "B",      "\u00e9", "\u4e16", "1",          "\u0663", "\u00bd", "'",       "'s",     "'LL", "\u017f",
      " ",      " ",      "  ",     "\t",     "\n",         "\r\n",   "\u00a0", "\u3000",  "\u2028", "!",   ".",
      "$",      "=",      "\u2014", "\u20ac", "\U0001F44D", "\u0301", "_",      "1234567", "re",     "Ve",  "/",
      "\u02b0", "\u01c5", "\u3042", "\uac00", "\x01",       "<",      "ll",     "\u0915",  "A",      "AB",  "\u0e01"};
  const CounterRandom random(11);
  uint64_t draw = 0;
  for (const auto& [pre, expressions] : kExpressions)
    for (int repeat = 0; repeat < 3000; ++repeat) {
      std::string text;
      for (uint64_t n = random.below(draw++, 14); n > 0; --n) text += parts[random.below(draw++, std::size(parts))];
      ASSERT_EQ(split(pre, text), split_reference(expressions, text)) << pre << ": " << testing::PrintToString(text);
    }
}

// Every character of both Unicode tables, between a letter, a number, a space and a sign. U+180E is white space to
// PCRE2 alone, and a character newer than its tables (Unicode 14) is unassigned to it.
TEST(Split, EveryCharacterHasItsClass) {
  const Expression assigned(R"(\p{Cn})");
  int64_t compared = 0;
  for (uint32_t c = 0; c <= 0x10FFFF; ++c) {
    if ((c >= 0xD800 && c <= 0xDFFF) || c == 0x180E) continue;
    std::string self;
    append_utf8(self, c);
    if (c > 0x7F && assigned.split(self + "a").size() > 1) continue;
    const std::string text = "a" + self + "1 " + self + "! " + self;
    for (const char* pre : {"gpt-2", "qwen2", "gpt-4o", "deepseek-v3"})
      ASSERT_EQ(split(pre, text), split_reference(kExpressions.at(pre), text)) << pre << ": U+" << std::hex << c;
    ++compared;
  }
  EXPECT_GT(compared, 140000);
}

}  // namespace
}  // namespace attar
