#include "runtime/text/conversation.h"

#include <algorithm>
#include <new>
#include <utility>

#include "runtime/model/workspace.h"

namespace attar::runtime {

size_t Conversation::begin(std::span<const int32_t> prompt) {
  size_t common = 0;
  while (common < tokens_.size() && common + 1 < prompt.size() && tokens_[common] == prompt[common]) ++common;
  truncate(common);
  return common;
}

bool Conversation::read_pass(std::span<const int32_t> prompt, Workspace& work) {
  const std::span<const int32_t> left = prompt.subspan(tokens_.size());
  if (left.size() <= static_cast<size_t>(kMaxPassRows)) return false;
  const std::span<const int32_t> read = left.first(static_cast<size_t>(kMaxPassRows));
  std::vector<Row> rows;
  for (const int32_t token : read) rows.push_back({&cache_, token, false});
  tokens_.reserve(tokens_.size() + read.size());  // what may fail comes before the cache has changed
  forward(model_, rows, work);
  tokens_.insert(tokens_.end(), read.begin(), read.end());
  return true;
}

void Conversation::hold(std::span<const int32_t> prompt, std::span<const int32_t> text) noexcept {
  const auto length = static_cast<size_t>(cache_.length_tokens());
  try {
    tokens_.assign(prompt.begin(), prompt.end());
    tokens_.insert(tokens_.end(), text.begin(), text.end());
    truncate(std::min(length, tokens_.size()));
  } catch (const std::bad_alloc&) {
    truncate(0);
  }
}

void Conversation::replace(std::vector<int32_t> tokens, KvCache cache) noexcept {
  tokens_ = std::move(tokens);
  cache_ = std::move(cache);
}

void Conversation::truncate(size_t n_tokens) {
  cache_.truncate(static_cast<int64_t>(n_tokens));
  tokens_.resize(n_tokens);
}

}  // namespace attar::runtime
