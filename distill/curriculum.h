// From easy to hard: batches drawn from the documents that the teacher finds likeliest, a pool that grows until it
// holds all (competence-based curriculum, Platanios et al. 2019, arXiv 1903.09848, section 3.1, square-root
// competence).
#pragma once

#include <cstdint>
#include <vector>

#include "distill/train.h"
#include "distill/training_batches.h"

namespace attar {

// The first steps of a training, for `options.curriculum` of its tokens. What a step draws is a function of the seed,
// its number and the tokens before it.
class Curriculum {
 public:
  // Never takes a step.
  Curriculum() = default;
  // teacher_losses (documents): of a document's tokens in the mean. `data` outlives this.
  Curriculum(const TokenDataset& data, const std::vector<double>& teacher_losses, SignalSource source,
             const DistillOptions& options, uint64_t seed);

  // Whether the step behind so many tokens is drawn here.
  bool takes(int64_t tokens) const { return static_cast<double>(tokens) < tokens_; }
  // How much of the documents, the easiest, it is drawn from: at least a tenth.
  double share_at(int64_t tokens) const;
  TrainingBatch next(int64_t step, int64_t tokens) const;

 private:
  const TokenDataset* data_ = nullptr;
  SignalSource source_ = SignalSource::None;
  double tokens_ = 0.0;  // that it lasts
  int64_t batch_tokens_ = 0;
  uint64_t seed_ = 0;
  std::vector<int64_t> easiest_first_{};  // documents with something to learn
};

}  // namespace attar
