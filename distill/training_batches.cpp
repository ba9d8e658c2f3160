#include "distill/training_batches.h"

#include <algorithm>
#include <numeric>
#include <set>
#include <utility>

#include "runtime/base/error.h"
#include "runtime/base/random.h"

namespace attar {
namespace {

// Tokens of the loss whose weight is not 0.
int64_t tokens_that_count(const TokenDocument& document) {
  int64_t count = 0;
  for (size_t t = 0; t < document.tokens.size(); ++t)
    if (document.in_loss[t] != 0 && (document.weights.empty() || document.weights[t] > 0.0f)) ++count;
  return count;
}

}  // namespace

TrainingBatch SignalsOfBatch::operator()(TrainingBatch batch) {
  if (source_ != SignalSource::Cached || batch.data->store == nullptr) return batch;
  loaded_ = {};  // before, so that no two are in memory
  loaded_ = loaded(*batch.data, batch.pieces);
  batch.data = &loaded_.data;
  batch.pieces = loaded_.pieces;
  batch.tokens = loss_tokens(loaded_.data, loaded_.pieces, source_);
  return batch;
}

TokenDataset hold_out(TokenDataset& data, int64_t tokens, uint64_t seed) {
  constexpr uint64_t kStream = 0x686f6c64;
  const CounterRandom random(seed, kStream);
  std::vector<size_t> order(data.documents.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) { return random.bits(a) < random.bits(b); });
  TokenDataset out = data.without_documents(), rest = out;
  std::set<std::vector<int32_t>> texts;  // that are held out: their copies are dropped
  int64_t held = 0;
  for (const size_t i : order) {
    TokenDocument& document = data.documents[i];
    if (texts.contains(document.tokens)) continue;
    const bool more = held < tokens;
    if (more) held += tokens_that_count(document);
    if (more) texts.insert(document.tokens);
    (more ? out : rest).documents.push_back(std::move(document));
  }
  if (rest.loss_token_count() == 0)
    throw input_error("distill", "holds out all of its data", "fewer held_out_tokens than the data has",
                      std::to_string(tokens));
  data = std::move(rest);
  return out;
}

DatasetBatches::DatasetBatches(const TokenDataset& data, SignalSource source, const DistillOptions& options,
                               uint64_t seed, BatchPosition at)
    : data_(data),
      source_(source),
      sequence_tokens_(options.sequence_tokens),
      batch_tokens_(options.batch_tokens),
      seed_(seed),
      at_(at),
      batches_(batches_of(at.epoch)) {
  require_loss_tokens();
}

TrainingBatch DatasetBatches::next() {
  while (true) {
    if (at_.batch >= static_cast<int64_t>(batches_.size())) {
      batches_ = batches_of(++at_.epoch);
      at_.batch = 0;
    }
    const std::vector<Piece>& pieces = batches_[static_cast<size_t>(at_.batch++)];
    if (const LossTokens tokens = loss_tokens(data_, pieces, source_); tokens.weight > 0.0)
      return {&data_, pieces, tokens};
  }
}

std::vector<std::vector<Piece>> DatasetBatches::batches_of(int64_t epoch) const {
  return pack(data_, sequence_tokens_, batch_tokens_, seed_, epoch);
}

// Rows that start a piece predict nothing from before it, so data may count loss tokens that no step reaches.
void DatasetBatches::require_loss_tokens() const {
  bool reaches_some = false;
  for (const std::vector<Piece>& pieces : batches_) {
    const LossTokens tokens = loss_tokens(data_, pieces, source_);
    if (tokens.weight > 0.0) return;
    reaches_some = reaches_some || tokens.count > 0;
  }
  if (reaches_some) throw input_error("distill", "all tokens of the loss have the weight 0", "some above 0");
  throw input_error("distill", "no token of the loss has one before it to be predicted from",
                    "documents of two tokens and more", "", "raise sequence_tokens");
}

}  // namespace attar
