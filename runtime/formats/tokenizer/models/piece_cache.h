// Remembers the ids of short pieces: most of a text is made of few words. It never changes a result, and threads may
// share it: a slot that another thread holds counts as a miss.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <string_view>
#include <vector>

#include "runtime/base/aligned_buffer.h"
#include "runtime/formats/tokenizer/models/text_index.h"

namespace attar {

class PieceCache {
 public:
  PieceCache() : memory_(kSlots * sizeof(Slot)) {}  // of which nothing is resident until it holds something

  // Appends the ids of `piece` when it is remembered.
  bool find(std::string_view piece, uint64_t hash, std::vector<int32_t>& out) const {
    if (piece.size() > kMaxBytes) return false;
    Slot& slot = slot_of(hash);
    if (!slot.take()) return false;
    const bool hit = slot.n_bytes == piece.size() && std::memcmp(slot.bytes, piece.data(), piece.size()) == 0;
    if (hit) out.insert(out.end(), slot.ids, slot.ids + slot.n_ids);
    slot.let_go();
    return hit;
  }
  void store(std::string_view piece, uint64_t hash, const int32_t* ids, size_t n_ids) const {
    if (piece.size() > kMaxBytes || n_ids > kMaxIds) return;
    Slot& slot = slot_of(hash);
    if (!slot.take()) return;
    slot.n_bytes = static_cast<uint8_t>(piece.size());
    slot.n_ids = static_cast<uint8_t>(n_ids);
    std::memcpy(slot.bytes, piece.data(), piece.size());
    std::copy(ids, ids + n_ids, slot.ids);
    slot.let_go();
  }

 private:
  static constexpr size_t kSlots = 1 << 14;  // 1 MiB in all
  static constexpr size_t kMaxBytes = 29;
  static constexpr size_t kMaxIds = 8;
  struct alignas(64) Slot {
    bool busy;        // in somebody's hands
    uint8_t n_bytes;  // 0: free, for no piece is empty
    uint8_t n_ids;
    char bytes[kMaxBytes];
    int32_t ids[kMaxIds];

    // Not std::atomic, whose objects begin with a constructor: zeros are slots already.
    bool take() { return !__atomic_test_and_set(&busy, __ATOMIC_ACQUIRE); }
    void let_go() { __atomic_clear(&busy, __ATOMIC_RELEASE); }
  };
  static_assert(sizeof(Slot) == 64);
  Slot& slot_of(uint64_t hash) const { return memory_.as<Slot>()[hash % kSlots]; }

  mutable AlignedBuffer memory_;
};

}  // namespace attar
