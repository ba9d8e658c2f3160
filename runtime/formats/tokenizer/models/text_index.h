// Finds a token by its text: open addressing over texts that somebody else keeps.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <string_view>
#include <utility>
#include <vector>

namespace attar {

// Not cryptographic; the same on every machine of one byte order, and nothing stored depends on it.
inline uint64_t hash_bytes(std::string_view bytes) {
  constexpr uint64_t kMultiplier = 0x9E3779B97F4A7C15u;
  uint64_t hash = bytes.size() * kMultiplier;
  const char* at = bytes.data();
  size_t left = bytes.size();
  for (uint64_t word = 0; left >= 8; at += 8, left -= 8) {
    std::memcpy(&word, at, 8);
    hash = std::rotl((hash ^ word) * kMultiplier, 29);
  }
  uint64_t word = 0;
  for (size_t i = 0; i < left; ++i) word |= static_cast<uint64_t>(static_cast<unsigned char>(at[i])) << (8 * i);
  hash = (hash ^ word) * kMultiplier;
  return hash ^ (hash >> 32);
}

class TextIndex {
 public:
  // Room for `count` texts.
  explicit TextIndex(size_t count = 0) : slots_(std::bit_ceil(count * 2 + 2)) {}

  // The id that the text had before, or -1 when it is new. The bytes must outlive the index.
  int32_t insert(std::string_view text, int32_t id) {
    const uint64_t hash = hash_bytes(text);
    Slot* slot = find_slot(text, hash);
    if (slot->id < 0) *slot = {text.data(), static_cast<uint32_t>(text.size()), id};
    return slot->id == id ? -1 : slot->id;
  }
  int32_t find(std::string_view text) const { return find(text, hash_bytes(text)); }
  int32_t find(std::string_view text, uint64_t hash) const {  // of the text
    return const_cast<TextIndex*>(this)->find_slot(text, hash)->id;
  }
  // Who looks for several texts fetches first the places of all, then the bytes that lie there: find() waits for none.
  void fetch_place(uint64_t hash) const { __builtin_prefetch(&slots_[hash & (slots_.size() - 1)]); }
  void fetch_bytes(uint64_t hash) const { __builtin_prefetch(slots_[hash & (slots_.size() - 1)].data); }
  bool contains(std::string_view text) const { return find(text) >= 0; }

 private:
  struct Slot {
    const char* data = nullptr;
    uint32_t size = 0;
    int32_t id = -1;
  };
  Slot* find_slot(std::string_view text, uint64_t hash) {
    const size_t mask = slots_.size() - 1;
    size_t at = hash & mask;
    while (slots_[at].id >= 0 && std::string_view(slots_[at].data, slots_[at].size) != text) at = (at + 1) & mask;
    return &slots_[at];
  }

  std::vector<Slot> slots_;  // a power of two, at most half full
};

}  // namespace attar
