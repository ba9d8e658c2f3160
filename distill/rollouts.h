// Text that the student writes itself, for the teacher to judge: it learns where its own words lead it, not only where
// others' do (generalized knowledge distillation, Agarwal et al. 2024, arXiv 2306.13649).
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "compress/token_dataset.h"
#include "distill/train.h"
#include "distill/training_batches.h"

namespace attar {

// What a checkpoint keeps of them.
struct RolloutState {
  uint64_t begun = 0;                 // texts so far
  int64_t unread = 0;                 // of the last ones in `kept`: not learned from yet
  int64_t tokens = 0, ended = 0;      // written so far; texts that ended by themselves
  std::vector<TokenDocument> kept{};  // the newest last
};

// The share of the steps that a training's options give to rollouts, as a source of batches. What is written depends on
// the weights at that time, the seed and the number of texts before it alone.
class Rollouts {
 public:
  // All of it outlives this. Error{Usage}: there is no writer. Error{Input}: no document of `data` begins with what the
  // student could go on from.
  Rollouts(const TokenDataset& data, const RolloutWriter& write, const DistillOptions& options, uint64_t seed,
           RolloutState& state);

  // Whether this step learns from the student's own text: a draw of its own.
  bool takes(int64_t step) const;
  // Of at most batch_tokens, or one text, and no more than is left of a writing: the student writes anew when all that
  // it wrote was learned from. An exception leaves the state as it was.
  TrainingBatch next(const CausalLM& student, int64_t step, const Progress& progress);

 private:
  void write_more(const CausalLM& student, const Progress& progress);

  const RolloutWriter& write_;
  const DistillOptions& options_;
  uint64_t seed_;
  RolloutState& state_;
  std::vector<std::vector<int32_t>> prompts_;
  TokenDataset batch_;  // what the last batch is of
};

}  // namespace attar
