// Caches of texts that ended, for prompts that begin as those did. Bounded by memory: the one that was used last lives
// longest.
#pragma once

#include <cstdint>
#include <list>
#include <span>
#include <vector>

#include "runtime/model/model.h"

namespace attar::runtime {

// How many tokens two texts have in common from their beginning.
int64_t common_tokens(std::span<const int32_t> a, std::span<const int32_t> b);

class KeptCaches {
 public:
  struct Kept {
    std::vector<int32_t> tokens;  // that the cache holds
    KvCache cache;
  };

  explicit KeptCaches(uint64_t most_bytes) : most_bytes_(most_bytes) {}

  uint64_t size_bytes() const { return size_bytes_; }
  // The one that has most in common with `prompt`, now used; nullptr where none has `least` tokens.
  const Kept* find(std::span<const int32_t> prompt, int64_t least);
  // Keeps a cache that holds the first tokens of `text`, in place of those that hold a part of that; not one that is
  // too large or that there is no memory for.
  void keep(std::span<const int32_t> text, KvCache cache) noexcept;
  void shrink_to(uint64_t bytes);  // the oldest go

 private:
  std::list<Kept> all_;  // used last: in front
  uint64_t size_bytes_ = 0, most_bytes_;
};

}  // namespace attar::runtime
