// forward(): checks a batch whole, then takes it in passes.
#include <algorithm>
#include <string>
#include <utility>

#include "runtime/base/error.h"
#include "runtime/model/kv_cache.h"
#include "runtime/model/model.h"
#include "runtime/model/pass.h"
#include "runtime/model/workspace.h"

namespace attar::runtime {
namespace {

// The sequences of a batch, which are brought back to the length they had unless keep() was called.
class Sequences {
 public:
  Sequences(const Model& model, std::span<const Row> batch) {
    for (const Row& row : batch) {
      if (!begun_.empty() && begun_.back().first == row.cache) continue;
      if (row.cache == nullptr) throw usage_error("a row of the batch", "has no cache");
      if (!row.cache->belongs_to(model)) throw usage_error("a row of the batch", "has a cache of another model");
      begun_.emplace_back(row.cache, row.cache->length_tokens());
    }
    if (begun_.size() == 1) return;
    std::sort(begun_.begin(), begun_.end());
    if (std::adjacent_find(begun_.begin(), begun_.end()) != begun_.end())
      throw usage_error("the batch", "has rows of one sequence in several places", "them to stand together");
  }
  ~Sequences() {
    for (const auto& [cache, length_tokens] : begun_) cache->truncate(length_tokens);
  }
  Sequences(const Sequences&) = delete;
  Sequences& operator=(const Sequences&) = delete;

  void keep() { begun_.clear(); }

 private:
  std::vector<std::pair<KvCache*, int64_t>> begun_;
};

void check_token(const ModelConfig& config, int32_t token) {
  if (token < 0 || token >= config.vocab_size)
    throw input_error("token", "a token id is outside the vocabulary", "0 to " + std::to_string(config.vocab_size - 1),
                      std::to_string(token));
}

void check_rows(const ModelConfig& config, std::span<const Row> batch) {
  const KvCache* last = nullptr;
  int64_t length = 0;
  for (const Row& row : batch) {
    length = row.cache == last ? length + 1 : row.cache->length_tokens() + 1;
    last = row.cache;
    check_token(config, row.token);
    if (length > config.context_length)
      throw input_error("sequence", "it is longer than the model's context",
                        "at most " + std::to_string(config.context_length) + " tokens", std::to_string(length),
                        "shorten the prompt or ask for fewer tokens");
  }
}

}  // namespace

void check_tokens(const Model& model, std::span<const int32_t> tokens) {
  for (const int32_t token : tokens) check_token(model.config(), token);
}

void forward(const Model& model, std::span<const Row> batch, Workspace& work, const Progress& progress,
             Answers answers) {
  Workspace::Buffers& buffers = work.buffers();
  if (buffers.model_id != model.weights().id) throw usage_error("the workspace", "is of another model");
  buffers.answered_logits = buffers.answered_hidden = buffers.answered_sums = 0;
  Sequences sequences(model, batch);
  check_rows(model.config(), batch);
  int64_t asked = 0;
  for (const Row& row : batch) asked += row.wants_logits;
  buffers.reserve(model, std::min<int64_t>(kMaxPassRows, static_cast<int64_t>(batch.size())));
  buffers.reserve_outputs(asked, answers);
  const auto total = static_cast<int64_t>(batch.size());
  int64_t first_asked = 0;
  while (!batch.empty()) {
    const std::span<const Row> rows = batch.first(std::min<size_t>(kMaxPassRows, batch.size()));
    Pass(model, rows, buffers, first_asked, answers).run();
    for (const Row& row : rows) first_asked += row.wants_logits;
    batch = batch.subspan(rows.size());
    if (total > kMaxPassRows)
      report(progress,
             {.stage = "prompt", .unit = "tokens", .done = total - static_cast<int64_t>(batch.size()), .total = total});
  }
  sequences.keep();
  buffers.answered_hidden = asked;
  if (answers != Answers::Hidden) buffers.answered_logits = asked;
  if (answers == Answers::Summed) buffers.answered_sums = asked;
}

}  // namespace attar::runtime
