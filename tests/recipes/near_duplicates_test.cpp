#include "recipes/data/near_duplicates.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <tuple>

#include "recipes/data/word_shingles.h"
#include "runtime/base/error.h"
#include "runtime/base/random.h"
#include "tests/runtime/spoken_model.h"

namespace attar {
namespace {

using Texts = std::vector<std::string>;
using Words = std::vector<std::string>;

TextOf of(const Texts& texts) {
  return [&](size_t i) { return ComparedText{texts[i]}; };
}

std::vector<bool> found(const Texts& texts, double threshold, int threads = 2) {
  ThreadPool pool(threads);
  return near_duplicates(texts.size(), of(texts), threshold, pool);
}

std::string joined(const Words& words) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : " ") + word;
  return text;
}

// Words drawn from a vocabulary of 3,000.
class Drawn {
 public:
  explicit Drawn(uint64_t seed) : random_(seed) {}
  uint64_t below(uint64_t bound) { return random_.below(next_++, bound); }
  std::string word() { return "w" + std::to_string(below(3000)); }
  Words words(size_t n) {
    Words out(n);
    for (std::string& each : out) each = word();
    return out;
  }

 private:
  CounterRandom random_;
  uint64_t next_ = 0;
};

TEST(WordShingles, WordsAreSmallComposedAndWithoutPunctuation) {
  EXPECT_EQ(words_of("The  cat, the CAT!\nsat_down 3 times."),
            (Words{"the", "cat", "the", "cat", "sat", "down", "3", "times"}));
  EXPECT_EQ(words_of("\u00c9COLE e\u0301cole"), (Words{"\u00e9cole", "\u00e9cole"})) << "composed or not";
  EXPECT_EQ(words_of("\u0414\u043e\u043c \u0394\u03ad\u03bb\u03c4\u03b1"),
            (Words{"\u0434\u043e\u043c", "\u03b4\u03ad\u03bb\u03c4\u03b1"}));
  EXPECT_EQ(words_of("\u732b\u304c\u597d\u304d\u3002ok"), (Words{"\u732b", "\u304c", "\u597d", "\u304d", "ok"}))
      << "no spaces between words";
  EXPECT_EQ(words_of("a\xff\xfe"
                     "b \xe2\x82"),
            (Words{"a", "b"}))
      << "bytes that are no UTF-8";
  EXPECT_TRUE(words_of("").empty());
  EXPECT_TRUE(words_of(" ?! \u2026 \U0001F600").empty());
}

TEST(WordShingles, RunsOfFiveWordsOrAllOfThem) {
  EXPECT_EQ(word_shingles("a b c d e f").size(), 2u);
  EXPECT_EQ(word_shingles("a b c d e").size(), 1u);
  EXPECT_EQ(word_shingles("a b").size(), 1u);
  EXPECT_EQ(word_shingles("a a a a a a a").size(), 1u) << "each once";
  EXPECT_TRUE(word_shingles("...").empty());
  EXPECT_NE(word_shingles("a b"), word_shingles("b a"));
  EXPECT_NE(word_shingles("a b c d e"), word_shingles("a b c d e f"));
  EXPECT_EQ(word_shingles("A, b; C d E!"), word_shingles("a b c d e"));
}

// Sets of tuples of words, without a hash.
double jaccard_by_words(const std::string& a, const std::string& b) {
  const auto set_of = [](const std::string& text) {
    const Words words = words_of(text);
    std::set<Words> out;
    const size_t n = std::min(kShingleWords, words.size());
    for (size_t i = 0; n > 0 && i + n <= words.size(); ++i)
      out.insert(
          Words(words.begin() + static_cast<std::ptrdiff_t>(i), words.begin() + static_cast<std::ptrdiff_t>(i + n)));
    return out;
  };
  const std::set<Words> x = set_of(a), y = set_of(b);
  if (x.empty() || y.empty()) return 0.0;
  size_t shared = 0;
  for (const Words& run : x) shared += y.count(run);
  return static_cast<double>(shared) / static_cast<double>(x.size() + y.size() - shared);
}

TEST(WordShingles, JaccardIsThatOfSetsOfWords) {
  Drawn drawn(3);
  for (int i = 0; i < 200; ++i) {
    Words a(drawn.below(30)), b;
    for (std::string& word : a) word = "v" + std::to_string(drawn.below(3));
    b = a;
    for (uint64_t changes = drawn.below(6); changes > 0 && !b.empty(); --changes)
      b[drawn.below(b.size())] = "v" + std::to_string(drawn.below(3));
    EXPECT_DOUBLE_EQ(jaccard(word_shingles(joined(a)), word_shingles(joined(b))),
                     jaccard_by_words(joined(a), joined(b)));
  }
}

TEST(NearDuplicates, BandsFindWhatIsJustAlikeEnough) {
  for (const double threshold : {0.05, 0.3, 0.5, 0.7, 0.8, 0.9, 0.99, 1.0}) {
    const Bands bands = bands_for(threshold);
    EXPECT_LE(bands.count * bands.rows, kMinHashes);
    EXPECT_GE(bands.finds(threshold), 0.995) << threshold;
    if (bands.rows < kMinHashes) {
      const Bands longer{kMinHashes / (bands.rows + 1), bands.rows + 1};
      EXPECT_LT(longer.finds(threshold), 0.995) << threshold;
    }
  }
  EXPECT_EQ(bands_for(0.8).count, 21);
  EXPECT_EQ(bands_for(0.8).rows, 6);
}

// Documents of 60 to 160 words, half of them an earlier one with some words changed: similarities from 1 to 0.
Texts planted(uint64_t seed, size_t n) {
  Drawn drawn(seed);
  Texts texts;
  std::vector<Words> all;
  for (size_t i = 0; i < n; ++i) {
    Words words = i > 0 && drawn.below(2) == 0 ? all[drawn.below(i)] : drawn.words(60 + drawn.below(100));
    if (i > 0)
      for (uint64_t changes = drawn.below(8); changes > 0; --changes) words[drawn.below(words.size())] = drawn.word();
    all.push_back(words);
    texts.push_back(joined(words));
  }
  return texts;
}

class Threshold : public testing::TestWithParam<double> {};
INSTANTIATE_TEST_SUITE_P(NearDuplicates, Threshold, testing::Values(0.3, 0.5, 0.7, 0.8, 0.9, 1.0));

// Nothing is dropped that is not alike enough: exact. Of what is, at least 99 % is found.
TEST_P(Threshold, RecallAndPrecisionOfPlantedDocuments) {
  size_t dropped = 0, wrong = 0, missed = 0;
  for (uint64_t seed = 0; seed < 4; ++seed) {
    const Texts texts = planted(seed, 400);
    const std::vector<bool> got = found(texts, GetParam());
    std::vector<std::vector<uint64_t>> sets;
    for (const std::string& text : texts) sets.push_back(word_shingles(text));
    for (size_t i = 0; i < texts.size(); ++i) {
      bool alike = false;  // to one before it that was kept
      for (size_t j = 0; j < i && !alike; ++j) alike = !got[j] && jaccard(sets[i], sets[j]) >= GetParam();
      dropped += got[i] ? 1 : 0, wrong += got[i] && !alike ? 1 : 0, missed += !got[i] && alike ? 1 : 0;
    }
  }
  EXPECT_GT(dropped, 50u);
  EXPECT_EQ(wrong, 0u);
  EXPECT_LE(missed, (dropped + missed) / 100);
}

TEST(NearDuplicates, TheReferenceComparesEveryPair) {
  const Texts texts = planted(9, 300);
  const std::vector<bool> exact = near_duplicates_reference(texts.size(), of(texts), 0.8), got = found(texts, 0.8);
  size_t other = 0;
  for (size_t i = 0; i < texts.size(); ++i) other += exact[i] != got[i] ? 1 : 0;
  EXPECT_GT(std::count(exact.begin(), exact.end(), true), 30);
  EXPECT_LE(other, 2u);
}

TEST(NearDuplicates, NoNumberOfThreadsChangesWhatIsDropped) {
  const Texts texts = planted(5, 500);
  EXPECT_EQ(found(texts, 0.6, 1), found(texts, 0.6, 3));
}

TEST(NearDuplicates, TheFirstStaysAndTheLaterGo) {
  const std::string story = "once there was a small red boat that lived under a bed and went out to sea";
  EXPECT_EQ(found({story, "another text of a few words", story, "ONCE " + story.substr(5) + "!"}, 0.9),
            (std::vector<bool>{false, false, true, true}));
}

TEST(NearDuplicates, EmptyAndTinyDocuments) {
  EXPECT_TRUE(found({}, 0.8).empty());
  EXPECT_EQ(found({"", "", "?!", "?!", "Yes.", "No.", "yes", "yes it is", "Yes, it is!"}, 0.8),
            (std::vector<bool>{false, false, false, false, false, false, true, false, true}))
      << "those without a word say nothing alike";
}

TEST(NearDuplicates, WhateverTheScript) {
  const std::string chinese =
      "\u5c0f\u732b\u5728\u5e8a\u4e0b\u627e\u5230\u4e00\u6761\u7ea2\u8272\u7684\u5c0f\u8239\u5f88\u9ad8\u5174";
  const std::string other =
      "\u4eca\u5929\u5929\u6c14\u5f88\u597d\u6211\u4eec\u53bb\u516c\u56ed\u73a9\u7403\u5427\u670b\u53cb\u4eec\u90fd"
      "\u6765";
  EXPECT_EQ(found({chinese, other, chinese + "\u3002"}, 0.9), (std::vector<bool>{false, false, true}));
  EXPECT_EQ(found({"caf\u00e9 cr\u00e8me", "CAFE\u0301 CRE\u0300ME"}, 1.0), (std::vector<bool>{false, true}));
}

// A crowd that shares a frame but is not alike enough costs no more than its share, and its copies are still found.
TEST(NearDuplicates, ACrowdUnderTheThreshold) {
  Drawn drawn(17);
  const std::string frame = joined(drawn.words(40));
  Texts texts;
  for (int i = 0; i < 1500; ++i) texts.push_back(frame + " " + joined(drawn.words(14)));
  texts.push_back(texts[3]);
  const std::vector<bool> got = found(texts, 0.8);
  EXPECT_EQ(std::count(got.begin(), got.end(), true), 1);
  EXPECT_TRUE(got.back());
}

TEST(NearDuplicates, OfAChatAllOfItAndWhatIsLearnedMustBeAlike) {
  const std::string frame =
      "you are a kind and helpful assistant who answers in one short sentence and never lies to anyone ";
  const std::string other =
      "a quite different long system prompt about ships and storms and the people who sail them home ";
  const std::vector<ComparedText> chats{
      {"it is paris", frame + "what is the capital of france it is paris"},
      {"it is berlin", frame + "what is the capital of germany it is berlin"},         // the frame is no likeness
      {"it is paris", other + "where does the river seine flow through it is paris"},  // nor is a short answer
      {"it is paris", frame + "what is the capital of france it is paris"},
  };
  ThreadPool pool(1);
  const auto text_of = [&](size_t i) { return chats[i]; };
  EXPECT_EQ(near_duplicates(chats.size(), text_of, 0.6, pool), (std::vector<bool>{false, false, false, true}));
  EXPECT_EQ(near_duplicates_reference(chats.size(), text_of, 0.6), (std::vector<bool>{false, false, false, true}));
}

TEST(NearDuplicates, AreDroppedAcrossPartsWithTheirSignals) {
  const TokenizerData data = runtime::spoken_tokenizer({"a", "b", "c", "d", "e", "f", "g", "h"});
  const Tokenizer tokenizer(data);
  const auto document = [](std::vector<int32_t> tokens) {
    TokenDocument out{tokens, std::vector<uint8_t>(tokens.size(), 1), {}, {}};
    out.in_loss[0] = 0;
    return out;
  };
  std::vector<TokenDataset> parts(2, dataset_of(tokenizer));
  parts[0].documents = {document({3, 4, 5, 6}), document({7, 8, 9})};
  parts[1].documents = {document({7, 8, 9}), document({10, 9, 8}), document({3, 4, 5, 6})};
  const NearDuplicates none = drop_near_duplicates(parts, tokenizer, 0.0, 1);
  EXPECT_EQ(none.of + static_cast<int64_t>(none.threshold), 0);
  const NearDuplicates some = drop_near_duplicates(parts, tokenizer, 1.0, 1);
  EXPECT_EQ(to_words(some), "2 of 5 documents dropped as near-duplicates of one before them");
  EXPECT_EQ(parts[0].documents.size(), 2u);
  ASSERT_EQ(parts[1].documents.size(), 1u);
  EXPECT_EQ(parts[1].documents[0].tokens, (std::vector<int32_t>{10, 9, 8}));
  const NearDuplicates again = near_duplicates_of(near_duplicates_record(some));
  EXPECT_EQ(std::tuple(again.threshold, again.dropped, again.of), std::tuple(1.0, 2, 5));
  EXPECT_EQ(near_duplicates_of("{}").of, 0);
}

TEST(NearDuplicates, AStopIsHeard) {
  ThreadPool pool(2);
  const Texts texts = planted(1, 50);
  EXPECT_THROW(near_duplicates(texts.size(), of(texts), 0.8, pool, [](const Event&) { return Flow::Stop; }), Error);
}

}  // namespace
}  // namespace attar
