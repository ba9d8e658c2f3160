// What a training learns from, a batch a step.
#pragma once

#include <cstdint>
#include <vector>

#include "compress/dataset/signal_store.h"
#include "compress/token_dataset.h"
#include "distill/labels.h"
#include "distill/train.h"

namespace attar {

struct TrainingBatch {
  const TokenDataset* data;  // holds the documents of `pieces`; lives until the next batch is asked for
  std::vector<Piece> pieces;
  LossTokens tokens;        // of the loss; their weight is above 0. What a signal on disk says of them: SignalsOfBatch
  bool by_student = false;  // text that the student wrote: the teacher is asked, and the text itself teaches nothing
};

// Brings the signals of a batch into memory, where they lie on disk and are learned from.
class SignalsOfBatch {
 public:
  explicit SignalsOfBatch(SignalSource source) : source_(source) {}
  // What it gives back lives until the next one.
  TrainingBatch operator()(TrainingBatch batch);

 private:
  SignalSource source_;
  LoadedPieces loaded_;
};

// Takes documents out of `data`, drawn by the seed, until they hold `tokens` of the loss that count. Error{Input}:
// nothing is left.
// -> them.
TokenDataset hold_out(TokenDataset& data, int64_t tokens, uint64_t seed);

// All that a checkpoint keeps of where a training stands in its data.
struct BatchPosition {
  int64_t epoch = 0, batch = 0;  // the next one of the epoch
};

// The batches of a dataset, epoch after epoch, each in an order that is a function of (seed, epoch).
class DatasetBatches {
 public:
  // The dataset outlives it. Error{Input}: no batch has a token of the loss, or none that counts.
  DatasetBatches(const TokenDataset& data, SignalSource source, const DistillOptions& options, uint64_t seed,
                 BatchPosition at);

  // Batches without a token of the loss are passed over, and those whose tokens all have the weight 0.
  TrainingBatch next();
  const BatchPosition& position() const { return at_; }

 private:
  std::vector<std::vector<Piece>> batches_of(int64_t epoch) const;
  void require_loss_tokens() const;

  const TokenDataset& data_;
  SignalSource source_;
  int64_t sequence_tokens_, batch_tokens_;
  uint64_t seed_;
  BatchPosition at_;
  std::vector<std::vector<Piece>> batches_;  // of this epoch
};

}  // namespace attar
