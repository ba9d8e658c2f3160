// One sequence that is gone on with again and again: its cache, and the tokens that it holds. A prompt that begins as
// an earlier one did is read from where the two part.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "runtime/model/model.h"

namespace attar::runtime {

class Conversation {
 public:
  explicit Conversation(const Model& model) : model_(model), cache_(model) {}  // the model must outlive it

  KvCache& cache() { return cache_; }
  std::span<const int32_t> tokens() const { return tokens_; }  // that the cache holds

  // Forgets what `prompt` does not begin with; at least its last token is left to read. -> how many are held
  size_t begin(std::span<const int32_t> prompt);
  // Of a prompt that was begun: reads as much as a pass takes, where more than that is left. -> whether it did
  bool read_pass(std::span<const int32_t> prompt, Workspace& work);
  // The cache was led on: it holds the first tokens of these, `text` behind `prompt`. For want of memory all is
  // forgotten.
  void hold(std::span<const int32_t> prompt, std::span<const int32_t> text) noexcept;
  void truncate(size_t n_tokens);  // at most as many as it holds
  // From now on these, which the cache holds.
  void replace(std::vector<int32_t> tokens, KvCache cache) noexcept;

 private:
  const Model& model_;
  KvCache cache_;
  std::vector<int32_t> tokens_;
};

}  // namespace attar::runtime
