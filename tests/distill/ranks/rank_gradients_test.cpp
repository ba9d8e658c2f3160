// What ranks add up to is the gradient of one process, number by number, whatever is learned from.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "distill/learner.h"
#include "distill/ranks/shared_training.h"
#include "tests/distill/ranks/rank_threads.h"
#include "tests/distill/step/long_batches.h"

namespace attar {
namespace {

BatchGradients gradients_in_ranks(int size, const BatchCase& given, const LongBatch& batch) {
  BatchGradients sum;
  const std::vector<std::string> said = in_ranks(size, [&](Ranks& ranks) {
    TrainInputs inputs = batch.inputs();
    inputs.ranks = &ranks, inputs.threads = ranks.threads();
    Learner learner(batch.student(), inputs, given.options, given.source);
    SharedTraining training(batch.student(), inputs, given.options, given.source);
    sum = training.gradients(learner, batch.batch(batch.pieces()), 1.0);
  });
  EXPECT_EQ(said, std::vector<std::string>(static_cast<size_t>(size))) << given.name;
  return sum;
}

TEST(RankGradients, AreThoseOfOneProcess) {
  std::vector<BatchCase> all = batch_cases();
  BatchCase part = all[1];  // chosen within slices, which stay whole
  part.name = "part of the positions", part.options.position_share = 0.5;
  all.push_back(part);
  for (const BatchCase& given : all) {
    const LongBatch batch(given);
    const BatchGradients alone = batch.sum_over({batch.pieces()});
    for (const int size : {2, 7})
      expect_same_step(gradients_in_ranks(size, given, batch), alone, given.name + " in " + std::to_string(size));
  }
}

}  // namespace
}  // namespace attar
