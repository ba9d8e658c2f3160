// Rows of numbers, each kept once: the same row has the same id.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace attar::runtime {

class WordSets {
 public:
  WordSets() { clear(); }

  // The id of a row, counted from 0 in the order of their coming.
  uint32_t add(std::span<const uint32_t> row);
  // Valid until the next add.
  std::span<const uint32_t> at(uint32_t id) const {
    return std::span(words_).subspan(begins_[id], begins_[id + 1] - begins_[id]);
  }
  uint32_t size() const { return static_cast<uint32_t>(begins_.size() - 1); }
  size_t words() const { return words_.size() + 4 * begins_.size(); }  // that all of it takes, about
  void clear();

 private:
  void grow();

  std::vector<uint32_t> words_{}, begins_{}, hashes_{};
  std::vector<uint32_t> table_{};  // id + 1 by hash, open addressing; 0: free
};

}  // namespace attar::runtime
