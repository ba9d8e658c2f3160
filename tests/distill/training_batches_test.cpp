#include "distill/training_batches.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <map>
#include <set>
#include <string>

#include "runtime/base/error.h"
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

void leave_out(TokenDocument& document) {
  document.in_loss.assign(document.tokens.size(), 0);
}
void count_for_nothing(TokenDocument& document) {
  document.weights.assign(document.tokens.size(), 0.0f);
}

// A document a batch, two epochs of those that teach something.
TEST(DatasetBatches, PassOverWhatTeachesNothing) {
  TokenDataset data = countable(12);
  for (size_t d = 0; d < 12; ++d) {
    if (d % 3 == 0) leave_out(data.documents[d]);
    if (d % 3 == 1) count_for_nothing(data.documents[d]);
  }
  DistillOptions options = quick(100);
  options.batch_tokens = 1;
  DatasetBatches batches(data, SignalSource::None, options, 3, {});
  std::map<int64_t, int> seen;
  for (int i = 0; i < 8; ++i) {
    const TrainingBatch batch = batches.next();
    ASSERT_EQ(batch.pieces.size(), 1u);
    EXPECT_GT(batch.tokens.weight, 0.0);
    ++seen[batch.pieces[0].document];
  }
  EXPECT_EQ(seen, (std::map<int64_t, int>{{2, 2}, {5, 2}, {8, 2}, {11, 2}}));
  EXPECT_EQ(batches.position().epoch, 1);
}

TEST(DatasetBatches, NothingToLearnIsSaid) {
  const auto said = [](const std::function<void(TokenDocument&)>& change) -> std::string {
    TokenDataset data = countable(12);
    for (TokenDocument& document : data.documents) change(document);
    try {
      DatasetBatches batches(data, SignalSource::None, quick(100), 3, {});
      return "";
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::Input);
      return error.what();
    }
  };
  EXPECT_NE(said(leave_out).find("no token of the loss"), std::string::npos);
  EXPECT_NE(said(count_for_nothing).find("the weight 0"), std::string::npos);
}

// Of documents that count for nothing no step divides by the sum of their weights, and no look at what is held out.
TEST(DatasetBatches, AWeightOfZeroTeachesAsNoLossDoes) {
  const auto trained = [](const std::function<void(TokenDocument&)>& change) {
    TokenDataset data = countable(30);
    for (size_t d = 0; d < 30; d += 2) change(data.documents[d]);
    DistillOptions options = quick(300);
    options.batch_tokens = 1, options.checkpoint_every_steps = 0;
    options.held_out_tokens = 20, options.held_out_every_steps = 5;
    CausalLM model = CausalLM::random(tiny_config(Family::Llama), 1);
    const TrainResult result = train(model, byte_tokenizer(), {.data = &data, .seed = 3}, options);
    EXPECT_EQ(result.skipped_steps, 0);
    int looks = 0;
    for (const TrainStep& step : result.history) {
      EXPECT_TRUE(std::isfinite(step.loss)) << step.step;
      if (!step.held_out) continue;
      EXPECT_TRUE(std::isfinite(*step.held_out)) << step.step;
      ++looks;
    }
    EXPECT_GT(looks, 1);
    return model;
  };
  EXPECT_TRUE(same(trained(count_for_nothing), trained(leave_out)));
}

// As many tokens that count as were asked for, whatever lies between them.
TEST(HoldOut, CountsWhatCounts) {
  TokenDataset rest = countable(30);
  for (size_t d = 0; d < 30; d += 2) count_for_nothing(rest.documents[d]);
  const TokenDataset held = hold_out(rest, 60, 3);
  double weight = 0.0;
  for (const TokenDocument& document : held.documents)
    if (document.weights.empty()) weight += static_cast<double>(document.tokens.size() - 1);
  EXPECT_GE(weight, 60.0);
}

}  // namespace
}  // namespace attar
