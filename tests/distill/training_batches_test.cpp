#include "distill/training_batches.h"

#include <gtest/gtest.h>

#include <set>

#include "tests/distill/tiny_training.h"

namespace attar {
namespace {

std::multiset<std::vector<int32_t>> texts_of(const TokenDataset& data) {
  std::multiset<std::vector<int32_t>> texts;
  for (const TokenDocument& document : data.documents) texts.insert(document.tokens);
  return texts;
}

TEST(HoldOut, TakesWholeDocumentsAndLosesNone) {
  const TokenDataset all = countable(30);
  TokenDataset rest = all;
  const TokenDataset held = hold_out(rest, 100, 3);
  EXPECT_GE(held.loss_token_count(), 100);
  EXPECT_LT(held.loss_token_count(), 100 + all.longest_tokens());
  auto together = texts_of(held);
  together.merge(texts_of(rest));
  EXPECT_EQ(together, texts_of(all));
}

// A source of weight 3 is there three times: what is held out of it is not learned from either.
TEST(HoldOut, CopiesAreNotLearned) {
  TokenDataset rest = countable(30);
  const std::vector<TokenDocument> once = rest.documents;
  for (int copy = 0; copy < 2; ++copy) rest.documents.insert(rest.documents.end(), once.begin(), once.end());
  const auto held = texts_of(hold_out(rest, 100, 3));
  EXPECT_GE(held.size(), 3u);
  EXPECT_EQ(std::set(held.begin(), held.end()).size(), held.size()) << "a copy says nothing new";
  const auto learned = texts_of(rest);
  for (const std::vector<int32_t>& text : held) EXPECT_FALSE(learned.contains(text));
  EXPECT_EQ(learned.size(), 3 * (once.size() - held.size())) << "others keep their copies";
}

}  // namespace
}  // namespace attar
