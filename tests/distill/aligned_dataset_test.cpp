#include "distill/alignment/aligned_dataset.h"

#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>

#include "distill/alignment/aligned_rows.h"
#include "runtime/base/error.h"
#include "runtime/base/random.h"
#include "tests/formats/tiny_tokenizers.h"

namespace attar {
namespace {

using End = OtherReading::End;

// Merges "the" and "an"; with <|end|> behind texts.
Tokenizer merging() {
  return Tokenizer(byte_level({{"t", "h"}, {"th", "e"}, {"a", "n"}}));
}
Tokenizer bytes() {
  return Tokenizer(byte_level({}));
}
// BOS, a space in front, " the".
Tokenizer pieces() {
  return Tokenizer(sentence_pieces({" ", "t", "h", "e", "a", "n", "d", "x", " t", " th", " the", "an"}));
}

TokenDataset texts(const Tokenizer& tokenizer, const std::vector<std::string>& all) {
  std::vector<Document> documents;
  for (const std::string& text : all) documents.push_back({.text = text, .messages = {}});
  return tokenize_documents(documents, tokenizer);
}
TokenDataset written(const Tokenizer& tokenizer, Ids ids) {
  TokenDataset data = dataset_of(tokenizer);
  TokenDocument document{std::move(ids), {}, {}, {}};
  document.in_loss.assign(document.tokens.size(), 1);
  document.in_loss[0] = 0;
  data.documents.push_back(std::move(document));
  return data;
}
std::string spelled(const Tokenizer& tokenizer, const std::vector<int32_t>& ids) {
  return tokenizer.decode(ids);
}
std::string message_of(const std::function<void()>& work) {
  try {
    work();
    return "";
  } catch (const Error& error) {
    return error.what();
  }
}

TEST(AlignedData, ByHand) {
  // teacher: the| |an|d|<end>, student: <s>|" the"|" "|an|d|</s>; the space in front of "the" is none of the text's
  const AlignedData aligned = aligned_data(texts(merging(), {"the and"}), merging(), pieces(), 64);
  ASSERT_EQ(aligned.data.documents.size(), 1u);
  const TokenDocument& document = aligned.data.documents[0];
  EXPECT_EQ(document.tokens.size(), 6u);
  EXPECT_EQ(document.tokens.front(), 1);
  EXPECT_EQ(document.tokens.back(), 2);
  EXPECT_EQ(document.other.tokens.size(), 5u);
  EXPECT_EQ(document.other.chunks, (std::vector<End>{{1, 0}, {2, 1}, {3, 2}, {4, 3}, {5, 4}, {6, 5}}));
  EXPECT_EQ(document.other.in_loss, (std::vector<uint8_t>{0, 1, 1, 1, 1})) << "nothing predicts its first token";
  EXPECT_EQ(aligned.chunks, 4) << "all but BOS and what the teacher's first token spells";
  EXPECT_EQ(aligned.student_tokens, 4);
  EXPECT_EQ(aligned.data.tokenizer_hash, pieces().hash());
}

TEST(AlignedData, ChunksOfSeveralTokens) {
  // BOS of SPM makes all of the text predictable: <s>|" the"|an against <end-less> bytes t|h|e|a|n
  const AlignedData aligned = aligned_data(texts(pieces(), {"thean"}), pieces(), bytes(), 64);
  const TokenDocument& document = aligned.data.documents[0];
  EXPECT_EQ(document.other.chunks, (std::vector<End>{{0, 1}, {3, 2}, {5, 3}, {6, 4}}));
  const AlignedRows rows = aligned_rows(aligned.data, {{0, 0, 6}});
  ASSERT_EQ(rows.chunks.size(), 2u) << "a student without BOS is not asked for what it begins with";
  EXPECT_EQ(rows.chunks[0].begin, 2);
  EXPECT_EQ(rows.chunks[0].end, 4);
  EXPECT_EQ(rows.chunks[0].other_begin, 1);
  EXPECT_EQ(rows.chunks[0].other_end, 2);
  EXPECT_EQ(rows.chunks[1].begin, 4);
  EXPECT_EQ(rows.next.const_data_ptr<int64_t>()[1], document.other.tokens[2]);
  EXPECT_FALSE(rows.in_chunks.const_data_ptr<bool>()[0]);
  EXPECT_TRUE(rows.in_chunks.const_data_ptr<bool>()[2]);
}

TEST(AlignedData, RowsOfSeveralDocumentsLieOneBehindAnother) {
  const AlignedData aligned = aligned_data(texts(pieces(), {"an", "the an"}), pieces(), merging(), 64);
  const AlignedRows one = aligned_rows(aligned.data, {{1, 0, 4}}),
                    both = aligned_rows(aligned.data, {{0, 0, 2}, {1, 0, 4}});
  ASSERT_EQ(both.chunks.size(), one.chunks.size() + 1);
  for (size_t c = 0; c < one.chunks.size(); ++c) {
    EXPECT_EQ(both.chunks[c + 1].begin, one.chunks[c].begin + 2);
    EXPECT_EQ(both.chunks[c + 1].other_end, one.chunks[c].other_end + 4);
  }
  EXPECT_EQ(both.other.lengths, (std::vector<int64_t>{4, 5}));
}

TEST(AlignedData, LossesOfChunksAreSumsOfTheirTokens) {
  const std::vector<ChunkRows> chunks{{1, 3, 0, 1}, {3, 4, 1, 3}};
  const double own[] = {-9.0, -0.5, -1.5, -3.0, -9.0}, other[] = {-1.0, -0.25, -0.75};
  const auto tensor = [](const double* values, int64_t n) {
    return at::tensor(std::vector<double>(values, values + n), at::kDouble);
  };
  const ChunkLosses losses = chunk_losses(chunks, tensor(own, 5), tensor(other, 3), 1.0);
  const double p = std::exp(-1.0), q[] = {std::exp(-2.0), std::exp(-3.0)};
  const auto *values = losses.values.const_data_ptr<double>(), *slopes = losses.slopes.const_data_ptr<double>();
  for (const int64_t r : {0, 1, 4}) EXPECT_EQ(values[r], 0.0);
  for (const int64_t r : {0, 4}) EXPECT_EQ(slopes[r], 0.0);
  EXPECT_NEAR(values[2], p * std::log(p / q[0]) + (1 - p) * std::log((1 - p) / (1 - q[0])), 1e-12);
  EXPECT_NEAR(slopes[1], (q[0] - p) / (1 - q[0]), 1e-12);
  EXPECT_EQ(slopes[1], slopes[2]);
  EXPECT_NEAR(slopes[3], (q[1] - p) / (1 - q[1]), 1e-12);
}

// Whatever the vocabularies: the same text, parts short enough, every chunk whole in one of them.
TEST(AlignedData, PartsOfDrawnTextsHoldAllOfIt) {
  static const char* kParts[] = {"t", "h", "e", " ", "an", "the ", "é", "€"};
  const CounterRandom random(7);
  std::vector<std::string> all;
  uint64_t draw = 0;
  for (int i = 0; i < 60; ++i) {
    std::string& text = all.emplace_back("x");
    for (uint64_t n = random.below(draw++, 90); n > 0; --n) text += kParts[random.below(draw++, std::size(kParts))];
  }
  const std::vector<Tokenizer (*)()> kinds{merging, bytes, pieces};
  for (const auto& teacher : kinds)
    for (const auto& student : kinds) {
      const TokenDataset data = texts(teacher(), all);
      const AlignedData whole = aligned_data(data, teacher(), student(), 1 << 20),
                        parts = aligned_data(data, teacher(), student(), 12);
      ASSERT_EQ(whole.data.documents.size(), all.size());
      std::string rejoined;
      const auto first = [](const TokenDocument& d) { return d.other.chunks.front(); };
      for (size_t d = 0; d < all.size(); ++d) {
        const TokenDocument& document = whole.data.documents[d];
        EXPECT_EQ(spelled(student(), document.tokens), all[d]);
        EXPECT_EQ(document.other.tokens, data.documents[d].tokens);
        EXPECT_EQ(document.other.chunks.back(), (End{static_cast<int64_t>(document.tokens.size()),
                                                     static_cast<int64_t>(document.other.tokens.size())}));
      }
      int64_t own = 0;
      for (const TokenDocument& document : parts.data.documents) {
        ASSERT_LE(document.tokens.size(), 12u);
        ASSERT_LE(document.other.tokens.size(), 12u);
        EXPECT_EQ(document.in_loss[0], 0);
        EXPECT_GE(first(document).own, static_cast<int64_t>(student().start().size()));
        EXPECT_GE(first(document).other, static_cast<int64_t>(teacher().start().size()));
        own += static_cast<int64_t>(document.tokens.size() - student().start().size());
      }
      int64_t expected = 0;
      for (const TokenDocument& document : whole.data.documents)
        expected += static_cast<int64_t>(document.tokens.size() - student().start().size());
      EXPECT_EQ(own, expected) << "no chunk of these texts is longer than a part";
      EXPECT_LE(parts.chunks, whole.chunks);
      EXPECT_GT(parts.chunks, whole.chunks / 2);
    }
}

TEST(AlignedData, ATextEndsWhereItsBytesAreNone) {
  const int32_t first = 1, half = 1 + 0xE2;  // of a euro sign
  const TokenDataset data = written(bytes(), {first + 'a', first + 'b', half});
  const TokenDataset read = in_tokens_of(merging(), data, bytes());
  EXPECT_EQ(spelled(merging(), read.documents[0].tokens), "ab");
  const AlignedData aligned = aligned_data(data, bytes(), merging(), 64);
  EXPECT_EQ(aligned.data.documents[0].other.tokens, (Ids{first + 'a', first + 'b'}));
}

TEST(AlignedData, EveryTokenizerHasItsOwnEndOfText) {
  const TokenDataset data = texts(merging(), {"an an"});
  EXPECT_EQ(data.documents[0].tokens.back(), 0);
  EXPECT_EQ(in_tokens_of(pieces(), data, merging()).documents[0].tokens.back(), 2);
  TokenizerData endless = byte_level({});
  endless.eos = -1;
  const AlignedData aligned = aligned_data(data, merging(), Tokenizer(endless), 64);
  EXPECT_EQ(aligned.data.documents[0].tokens.size(), 5u) << "bytes alone";
  EXPECT_EQ(aligned.data.documents[0].other.chunks.back(), (End{5, 4})) << "an, space, an, <|end|>";
}

// A control token that both spell alike is that one in both; one that the student lacks ends what a model wrote, and is
// refused where it frames what is learned.
TEST(AlignedData, ControlTokensAreThoseOfTheSameSpelling) {
  TokenizerData with = byte_level({});
  with.tokens.push_back({"<|user|>", 0.0f, TokenKind::Control});
  const int32_t user = static_cast<int32_t>(with.tokens.size()) - 1;
  const Tokenizer teacher(with);
  TokenizerData also = byte_level({{"a", "n"}});
  also.tokens.push_back({"<|user|>", 0.0f, TokenKind::Control});
  const TokenDataset chat = [&] {
    TokenDataset data = written(teacher, {user, 1 + 'a', 1 + 'n', 0, 1 + 'n'});
    data.documents[0].in_loss = {0, 0, 0, 1, 1};
    return data;
  }();
  const TokenDataset read = in_tokens_of(Tokenizer(also), chat, teacher);
  EXPECT_EQ(read.documents[0].tokens, (Ids{static_cast<int32_t>(also.tokens.size()) - 1, 257, 0, 1 + 'n'}));
  EXPECT_EQ(read.documents[0].in_loss, (std::vector<uint8_t>{0, 0, 1, 1}));
  const std::string refused = message_of([&] { in_tokens_of(bytes(), chat, teacher); });
  EXPECT_NE(refused.find("lacks a control token"), std::string::npos) << refused;
  EXPECT_NE(refused.find("<|user|>"), std::string::npos) << refused;
  const TokenDataset stray = written(teacher, {1 + 'a', 1 + 'n', user, 1 + 'n'});
  EXPECT_EQ(in_tokens_of(merging(), stray, teacher).documents[0].tokens, (Ids{259}));
}

TEST(AlignedData, RefusesWhatSharesNoPlace) {
  // One token of the teacher is longer than a part of bytes may be.
  const Tokenizer teacher(byte_level({{"a", "a"}, {"aa", "aa"}, {"aaaa", "aaaa"}}));
  const std::string refused =
      message_of([&] { aligned_data(texts(teacher, {"aaaaaaaaaaaaaaaa"}), teacher, bytes(), 4); });
  EXPECT_NE(refused.find("sequence_tokens"), std::string::npos) << refused;
}

}  // namespace
}  // namespace attar
