// forward(): checks a batch whole, then takes it in passes.
#include <algorithm>
#include <cassert>
#include <string>

#include "runtime/base/error.h"
#include "runtime/model/model.h"
#include "runtime/model/pass.h"
#include "runtime/model/workspace.h"

namespace attar::runtime {
namespace {

void check(const Model& model, std::span<const Row> batch) {
  const ModelConfig& config = model.config();
  const KvCache* last = nullptr;
  int64_t length = 0;
  for (const Row& row : batch) {
    assert(row.cache != nullptr);
    length = row.cache == last ? length + 1 : row.cache->length_tokens() + 1;
    last = row.cache;
    if (row.token < 0 || row.token >= config.vocab_size)
      throw input_error("token", "a token id is outside the vocabulary",
                        "0 to " + std::to_string(config.vocab_size - 1), std::to_string(row.token));
    if (length > config.context_length)
      throw input_error("sequence", "it is longer than the model's context",
                        "at most " + std::to_string(config.context_length) + " tokens", std::to_string(length),
                        "shorten the prompt or ask for fewer tokens");
  }
}

}  // namespace

void forward(const Model& model, std::span<const Row> batch, Workspace& work, const Progress& progress) {
  check(model, batch);
  Workspace::Buffers& buffers = work.buffers();
  int64_t asked = 0;
  for (const Row& row : batch) asked += row.wants_logits;
  buffers.reserve(model, std::min<int64_t>(kMaxPassRows, static_cast<int64_t>(batch.size())));
  buffers.reserve_outputs(model, asked);
  const auto total = static_cast<int64_t>(batch.size());
  int64_t first_asked = 0;
  while (!batch.empty()) {
    const std::span<const Row> rows = batch.first(std::min<size_t>(kMaxPassRows, batch.size()));
    Pass(model, rows, buffers, first_asked).run();
    for (const Row& row : rows) first_asked += row.wants_logits;
    batch = batch.subspan(rows.size());
    if (total > kMaxPassRows)
      report(progress,
             {.stage = "prompt", .unit = "tokens", .done = total - static_cast<int64_t>(batch.size()), .total = total});
  }
}

}  // namespace attar::runtime
