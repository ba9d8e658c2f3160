#include "runtime/formats/tokenizer/shared_ends.h"

#include <gtest/gtest.h>

#include <string>

#include "runtime/base/random.h"
#include "tests/formats/tiny_tokenizers.h"

namespace attar {
namespace {

using Ends = std::vector<size_t>;
using Shared = std::vector<SharedEnd>;

TEST(SharedEnds, ByHand) {
  // "the cat": the| cat against th|e| c|at
  EXPECT_EQ(shared_ends(Ends{3, 7}, Ends{2, 3, 5, 7}), (Shared{{1, 2}, {2, 4}}));
  EXPECT_EQ(shared_ends(Ends{1, 2, 3}, Ends{1, 2, 3}), (Shared{{1, 1}, {2, 2}, {3, 3}}));
  EXPECT_EQ(shared_ends(Ends{2, 4, 6}, Ends{3, 6}), (Shared{{3, 2}})) << "no cut in common but the last";
  EXPECT_EQ(shared_ends(Ends{}, Ends{}), Shared{});
}

TEST(SharedEnds, WhatStandsBeforeAndBehindTheTextStandsApart) {
  EXPECT_EQ(shared_ends(Ends{0, 2, 3}, Ends{0, 2, 3}), (Shared{{1, 1}, {2, 2}, {3, 3}}));
  EXPECT_EQ(shared_ends(Ends{0, 2}, Ends{2}), (Shared{{1, 0}, {2, 1}})) << "BOS of one alone";
  EXPECT_EQ(shared_ends(Ends{2, 3}, Ends{2}), (Shared{{1, 1}, {2, 1}})) << "EOS of one alone";
  EXPECT_EQ(shared_ends(Ends{0}, Ends{}), (Shared{{1, 0}}));
}

TEST(SharedEnds, TokensOfNothingBelongToWhatEndsThere) {
  EXPECT_EQ(shared_ends(Ends{2, 2, 4}, Ends{2, 3, 4, 4}), (Shared{{2, 1}, {3, 4}}));
}

// Texts of few letters, spaces, and characters of two to four bytes, which some of the vocabularies lack.
std::string drawn_text(const CounterRandom& random, uint64_t& draw) {
  static const char* kParts[] = {"t", "h", "e", " ", "a", "n", " ", "th", "é", "€", "𝄞", "e\xCC\x81", "\n", "7"};
  std::string text;
  for (uint64_t n = random.below(draw++, 40); n > 0; --n) text += kParts[random.below(draw++, std::size(kParts))];
  return text;
}

// Between two shared ends lie the same bytes, none lies between them, and all tokens are in one stretch.
TEST(SharedEnds, StretchesHoldEveryTokenOnceAndTheSameBytes) {
  TokenizerData composing = byte_level({{"t", "h"}, {" ", "t"}, {"a", "n"}});
  composing.normalize_nfc = true;
  std::vector<Tokenizer> tokenizers;
  tokenizers.emplace_back(byte_level({}));
  tokenizers.emplace_back(byte_level({{"t", "h"}, {"th", "e"}, {" ", "th"}, {"\xE2", "\x82"}}));
  tokenizers.emplace_back(std::move(composing));
  tokenizers.emplace_back(sentence_pieces({" t", "he", " the", "an", "th", "é"}));
  const CounterRandom random(11);
  uint64_t draw = 0;
  size_t merged = 0;
  for (int i = 0; i < 2000; ++i) {
    const std::string text = drawn_text(random, draw);
    const EncodedText a = tokenizers[random.below(draw++, 4)].encode_with_ends(text),
                      b = tokenizers[random.below(draw++, 4)].encode_with_ends(text);
    const Shared shared = shared_ends(a.ends, b.ends);
    SharedEnd last;
    for (const SharedEnd& end : shared) {
      ASSERT_TRUE(last.first <= end.first && last.second <= end.second && last != end) << text;
      const bool both = end.first > 0 && end.second > 0;
      const size_t at = both ? a.ends[end.first - 1] : 0;
      if (both) {
        ASSERT_EQ(at, b.ends[end.second - 1]) << text;
      }
      for (size_t x = last.first; x < end.first; ++x)
        for (size_t y = last.second; y < end.second; ++y)
          if (a.ends[x] == b.ends[y]) {
            ASSERT_EQ(a.ends[x], at) << text;
          }
      merged += end.first - last.first > 1 && end.second - last.second > 1 ? 1 : 0;
      last = end;
    }
    ASSERT_EQ(last, (SharedEnd{a.ids.size(), b.ids.size()})) << text;
  }
  EXPECT_GT(merged, 100u) << "stretches of several tokens on both sides were seen";
}

}  // namespace
}  // namespace attar
