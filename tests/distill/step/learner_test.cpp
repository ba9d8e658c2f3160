// One step, however its batch is cut: documents of more than a slice, in small batches under the same denominator, in
// another order.
#include "distill/learner.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "runtime/base/random.h"
#include "tests/distill/step/long_batches.h"

namespace attar {
namespace {

// Every n-th piece, from each of the first n on.
std::vector<std::vector<Piece>> dealt(const std::vector<Piece>& pieces, size_t n) {
  std::vector<std::vector<Piece>> parts(n);
  for (size_t i = 0; i < pieces.size(); ++i) parts[i % n].push_back(pieces[i]);
  return parts;
}

std::vector<Piece> shuffled(std::vector<Piece> pieces, uint64_t seed) {
  const CounterRandom random(seed);
  for (size_t i = pieces.size(); i > 1; --i) std::swap(pieces[i - 1], pieces[random.below(i, i)]);
  return pieces;
}

TEST(Learner, ABatchOfSeveralSlicesIsTheSumOfSmallOnes) {
  for (const BatchCase& given : batch_cases()) {
    const LongBatch batch(given);
    EXPECT_GT(given.data.token_count(), 3 * kSliceTokens);
    const BatchGradients whole = batch.sum_over({batch.pieces()});
    for (const size_t n : {2, 7, 40})
      expect_same_step(whole, batch.sum_over(dealt(batch.pieces(), n)), given.name + " in " + std::to_string(n));
    const std::vector<Piece> fewer(batch.pieces().begin(), batch.pieces().end() - 1);
    EXPECT_GT(apart(batch.sum_over({fewer}), whole).share, 5e-5) << given.name << ": a document less is not seen";
  }
}

TEST(Learner, TheOrderOfDocumentsChangesOnlyRounding) {
  for (const BatchCase& given : batch_cases()) {
    const LongBatch batch(given);
    const BatchGradients whole = batch.sum_over({batch.pieces()});
    std::vector<Piece> reversed = batch.pieces();
    std::reverse(reversed.begin(), reversed.end());
    for (const std::vector<Piece>& pieces : {reversed, shuffled(reversed, 3)}) {
      const BatchGradients other = batch.sum_over({pieces});
      expect_same_step(other, whole, given.name);
      ASSERT_EQ(other.parts.size(), whole.parts.size()) << given.name;
      for (const auto& [part, value] : whole.parts)
        EXPECT_NEAR(other.parts.at(part), value, 1e-6 * std::max(1.0, std::abs(value))) << given.name << ", " << part;
    }
  }
}

// Less is kept of each slice, and computed again.
TEST(Learner, GradientCheckpointingOfSeveralSlicesChangesNoBit) {
  const BatchCase all = batch_cases()[1];
  BatchCase less = all;
  less.options.gradient_checkpointing = true;
  const LongBatch keeping(all), computing(less);
  const BatchGradients whole = keeping.sum_over({keeping.pieces()}), again = computing.sum_over({computing.pieces()});
  EXPECT_EQ(again.loss, whole.loss);
  EXPECT_EQ(apart(again, whole).most, 0.0);
}

}  // namespace
}  // namespace attar
