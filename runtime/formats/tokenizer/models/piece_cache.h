// Remembers the ids of short pieces: most of a text is made of few words. It never changes a result, and threads may
// share it: a slot that another thread holds counts as a miss.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string_view>
#include <vector>

#include "runtime/formats/tokenizer/models/text_index.h"

namespace attar {

class PieceCache {
 public:
  PieceCache() : slots_(new Slot[kSlots]) {}

  // Appends the ids of `piece` when it is remembered.
  bool find(std::string_view piece, uint64_t hash, std::vector<int32_t>& out) const {
    if (piece.size() > kMaxBytes) return false;
    Slot& slot = slots_[hash % kSlots];
    if (slot.busy.exchange(true, std::memory_order_acquire)) return false;
    const bool hit = slot.n_bytes == piece.size() && std::memcmp(slot.bytes, piece.data(), piece.size()) == 0;
    if (hit) out.insert(out.end(), slot.ids, slot.ids + slot.n_ids);
    slot.busy.store(false, std::memory_order_release);
    return hit;
  }
  void store(std::string_view piece, uint64_t hash, const int32_t* ids, size_t n_ids) const {
    if (piece.size() > kMaxBytes || n_ids > kMaxIds) return;
    Slot& slot = slots_[hash % kSlots];
    if (slot.busy.exchange(true, std::memory_order_acquire)) return;
    slot.n_bytes = static_cast<uint8_t>(piece.size());
    slot.n_ids = static_cast<uint8_t>(n_ids);
    std::memcpy(slot.bytes, piece.data(), piece.size());
    std::copy(ids, ids + n_ids, slot.ids);
    slot.busy.store(false, std::memory_order_release);
  }

 private:
  static constexpr size_t kSlots = 1 << 14;  // 1 MiB in all
  static constexpr size_t kMaxBytes = 29;
  static constexpr size_t kMaxIds = 8;
  struct alignas(64) Slot {
    std::atomic<bool> busy{false};
    uint8_t n_bytes = 0;  // 0: free, for no piece is empty
    uint8_t n_ids = 0;
    char bytes[kMaxBytes];
    int32_t ids[kMaxIds];
  };
  static_assert(sizeof(Slot) == 64);

  std::unique_ptr<Slot[]> slots_;
};

}  // namespace attar
