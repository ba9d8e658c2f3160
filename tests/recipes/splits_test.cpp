#include "recipes/data/splits.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/runtime/spoken_model.h"

namespace attar {
namespace {

// Words [begin, end) of a text none of whose words comes twice.
std::string words_between(int begin, int end) {
  std::string text;
  for (int i = begin; i < end; ++i) text += (text.empty() ? "w" : " w") + std::to_string(i);
  return text;
}

WordRuns runs_of_text(const std::string& text) {
  return runs_of({Document{.text = text}});
}

TEST(WordRuns, TwelveSharedWordsStayThirteenGo) {
  const WordRuns runs = runs_of_text(words_between(0, 40));
  for (const int begin : {0, 1, 17, 27}) {  // at its beginning, within it, up to its end
    const std::string twelve = words_between(begin, begin + 12), thirteen = words_between(begin, begin + 13);
    EXPECT_FALSE(runs.shares_one_with(twelve)) << begin;
    EXPECT_FALSE(runs.shares_one_with("Before it " + twelve + " behind it.")) << begin;
    EXPECT_TRUE(runs.shares_one_with(thirteen)) << begin;
    EXPECT_TRUE(runs.shares_one_with("Before it " + thirteen + " behind it.")) << begin;
  }
  EXPECT_TRUE(runs.shares_one_with(words_between(0, 40)));
  EXPECT_FALSE(runs.shares_one_with(words_between(0, 12) + " other " + words_between(12, 24) + " other " +
                                    words_between(24, 36)))
      << "never thirteen in a row";
  EXPECT_FALSE(runs.shares_one_with(""));
}

TEST(WordRuns, OfATextOfTwelveWordsThereAreNone) {
  EXPECT_FALSE(runs_of_text(words_between(0, 12)).shares_one_with(words_between(0, 12)));
  EXPECT_TRUE(runs_of_text(words_between(0, 13)).shares_one_with(words_between(0, 13)));
  const WordRuns of_two = runs_of({Document{.text = words_between(0, 7)}, Document{.text = words_between(7, 14)}});
  EXPECT_FALSE(of_two.shares_one_with(words_between(0, 14))) << "no run goes from one document to the next";
  EXPECT_FALSE(WordRuns().shares_one_with(words_between(0, 14)));
}

TEST(WordRuns, CaseAndPunctuationMakeNoDifference) {
  const WordRuns runs = runs_of_text("The small red boat sailed out to sea, and never came back again.");  // 13 words
  for (const char* same : {"the small red boat sailed out to sea and never came back again",
                           "THE SMALL RED BOAT SAILED OUT TO SEA AND NEVER CAME BACK AGAIN!",
                           "\"The small, red boat\" -- sailed out (to sea); and: never\n\ncame\tback... again?",
                           "The_small*red*boat/sailed|out-to-sea-and-never-came-back-again",
                           "\u201cThe small\u201d red boat\u2014sailed out to \u2018sea\u2019 \u2026 and "
                           "never\u00a0came back \u00abagain\u00bb"})
    EXPECT_TRUE(runs.shares_one_with(same)) << same;
  for (const char* other : {"The small red boat sailed out to sea, and never came back.",
                            "The small redboat sailed out to sea, and never came back again.",
                            "The small red boat sailed out to sea, and it never came back again.",
                            "The small red boat sailed out to the sea, and never came back again."})
    EXPECT_FALSE(runs.shares_one_with(other)) << other;
}

TEST(WordRuns, ApostrophesBelongToWords) {
  const WordRuns runs = runs_of_text("We don't know where the boat's captain went that day with his dog");  // 13 words
  EXPECT_TRUE(runs.shares_one_with("we dont know where the boats captain went that day with his dog"));
  EXPECT_TRUE(
      runs.shares_one_with("We don\u2019t know where the boat\u2019s captain went that day \u2018with his dog\u2019"));
  EXPECT_FALSE(runs.shares_one_with("We do not know where the boat's captain went that day with his dog"));
}

TEST(WordRuns, CapitalsOfAnyScript) {
  std::string small, capital;
  for (int i = 0; i < 13; ++i) {
    small += "\u0436\u00e9" + std::to_string(i) + " ";
    capital += "\u0416\u00c9" + std::to_string(i) + ", ";
  }
  EXPECT_TRUE(runs_of_text(small).shares_one_with(capital));
  EXPECT_TRUE(runs_of_text(capital).shares_one_with(small));
  EXPECT_FALSE(runs_of_text(small).shares_one_with(words_between(0, 13)));
}

// Tokens are words of the text above; those before `learned` are not in the loss.
TokenDocument document_of(int begin, int end, int learned) {
  TokenDocument document;
  for (int i = begin; i < end; ++i) {
    document.tokens.push_back(3 + i);
    document.in_loss.push_back(i >= learned ? 1 : 0);
  }
  return document;
}

TEST(Splits, WhatAnotherHoldsIsDroppedAndCounted) {
  std::vector<std::string> vocabulary;
  for (int i = 0; i < 100; ++i) vocabulary.push_back("\u2581w" + std::to_string(i));
  const Tokenizer tokenizer(runtime::spoken_tokenizer(vocabulary));
  Splits splits;
  splits.evaluation = runs_of_text("It began: " + words_between(20, 33) + ".");
  TokenDataset train = dataset_of(tokenizer);
  train.documents = {document_of(50, 80, 60)};
  splits.train = runs_of_learned_text(train, tokenizer);
  TokenDataset calibration = dataset_of(tokenizer);
  calibration.documents = {
      document_of(8, 32, 9),    // 20 to 31: twelve words of the evaluation
      document_of(8, 33, 9),    // thirteen
      document_of(20, 40, 39),  // thirteen, of which none is learned
      document_of(60, 72, 60),  // twelve that train learns
      document_of(60, 73, 60),  // thirteen
      document_of(60, 74, 62),  // thirteen, of which twelve are learned here
      document_of(47, 61, 48),  // what train does not learn
  };
  const std::vector<TokenDocument> before = calibration.documents;
  drop_overlapping(calibration, tokenizer, splits);
  EXPECT_EQ(splits.in_evaluation, 2);
  EXPECT_EQ(splits.in_train, 1);
  ASSERT_EQ(calibration.documents.size(), 4u);
  const size_t stay[] = {0, 3, 5, 6};
  for (size_t i = 0; i < 4; ++i) EXPECT_EQ(calibration.documents[i].tokens, before[stay[i]].tokens) << i;
}

}  // namespace
}  // namespace attar
