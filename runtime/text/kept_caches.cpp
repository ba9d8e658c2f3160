#include "runtime/text/kept_caches.h"

#include <algorithm>
#include <new>
#include <utility>

namespace attar::runtime {

int64_t common_tokens(std::span<const int32_t> a, std::span<const int32_t> b) {
  return std::mismatch(a.begin(), a.end(), b.begin(), b.end()).first - a.begin();
}

const KeptCaches::Kept* KeptCaches::find(std::span<const int32_t> prompt, int64_t least) {
  auto best = all_.end();
  int64_t most = least - 1;
  for (auto kept = all_.begin(); kept != all_.end(); ++kept)
    if (const int64_t common = common_tokens(prompt, kept->tokens); common > most) best = kept, most = common;
  if (best == all_.end()) return nullptr;
  all_.splice(all_.begin(), all_, best);
  return &all_.front();
}

void KeptCaches::keep(std::span<const int32_t> text, KvCache cache) noexcept {
  if (cache.size_bytes() > most_bytes_) return;
  try {
    const std::span<const int32_t> held = text.first(static_cast<size_t>(cache.length_tokens()));
    std::list<Kept> added;
    added.push_back({{held.begin(), held.end()}, std::move(cache)});
    for (auto kept = all_.begin(); kept != all_.end();) {
      const bool part = common_tokens(held, kept->tokens) == static_cast<int64_t>(kept->tokens.size());
      if (part) size_bytes_ -= kept->cache.size_bytes();
      kept = part ? all_.erase(kept) : std::next(kept);
    }
    const uint64_t bytes = added.front().cache.size_bytes();
    shrink_to(most_bytes_ - bytes);
    all_.splice(all_.begin(), added);
    size_bytes_ += bytes;
  } catch (const std::bad_alloc&) {  // a prompt will be read again
  }
}

void KeptCaches::shrink_to(uint64_t bytes) {
  while (size_bytes_ > bytes) {
    size_bytes_ -= all_.back().cache.size_bytes();
    all_.pop_back();
  }
}

}  // namespace attar::runtime
