// Byte-level BPE: merges by rank within one piece. Source: Sennrich et al. 2016 (arXiv 1508.07909); GPT-2's byte map.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/formats/tokenizer.h"

namespace attar {

// GPT-2's map of bytes to printable characters, and back.
std::string byte_mapped(std::string_view bytes);
// The bytes of a mapped text; text with characters outside the map comes back as it is.
std::string byte_unmapped(std::string_view text);

class BpeEncoder {
 public:
  explicit BpeEncoder(const TokenizerData& data);  // of checked data
  void encode(std::string_view piece, std::vector<int32_t>& out) const;

 private:
  struct Merge {
    uint64_t pair = UINT64_MAX;  // left id << 32 | right id
    uint32_t rank = 0;
    int32_t merged = -1;
  };
  const Merge* find(int32_t left, int32_t right) const;
  void merge_short(std::vector<int32_t>& ids) const;
  void merge_long(std::vector<int32_t>& ids) const;

  int32_t byte_ids_[256];
  int32_t unknown_;
  std::vector<Merge> merges_;  // open addressing, a power of two
  struct Whole {
    std::string text;
    int32_t id;
  };
  std::vector<Whole> whole_;  // sorted by text: pieces that are tokens, when ignore_merges is set
};

}  // namespace attar
