// The texts of a vocabulary, one behind the other in one block: a std::string of each takes 32 bytes and more, for some
// five that it holds.
#pragma once

#include <cstddef>
#include <cstdint>
#include <iterator>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace attar {

class TextList {
 public:
  void reserve(size_t n_texts, size_t n_bytes);
  void push_back(std::string_view text);  // Error{Input}: together they have more than 4 GiB
  std::string_view operator[](size_t i) const {
    const size_t begin = i == 0 ? 0 : ends_[i - 1];
    return {bytes_.data() + begin, ends_[i] - begin};
  }
  std::string_view at(size_t i) const;  // std::out_of_range
  size_t size() const { return ends_.size(); }
  void clear() { bytes_.clear(), ends_.clear(); }
  bool operator==(const TextList&) const = default;

 private:
  std::string bytes_;
  std::vector<uint32_t> ends_;  // in bytes_
};

// Merges of BPE by rank: the texts of their two parts.
class MergeList {
 public:
  using Merge = std::pair<std::string_view, std::string_view>;
  using Texts = std::pair<std::string, std::string>;

  MergeList() = default;
  explicit MergeList(std::span<const Texts> merges);

  void reserve(size_t n_merges, size_t n_bytes) { texts_.reserve(2 * n_merges, n_bytes); }
  void push_back(const Merge& merge) { texts_.push_back(merge.first), texts_.push_back(merge.second); }
  Merge operator[](size_t rank) const { return {texts_[2 * rank], texts_[2 * rank + 1]}; }
  size_t size() const { return texts_.size() / 2; }
  bool empty() const { return size() == 0; }
  void clear() { texts_.clear(); }
  bool operator==(const MergeList&) const = default;

  class Iterator {
   public:
    using iterator_category = std::input_iterator_tag;
    using difference_type = std::ptrdiff_t;
    using value_type = Merge;
    using pointer = const Merge*;
    using reference = Merge;

    Iterator(const MergeList& list, size_t rank) : list_(&list), rank_(rank) {}
    Merge operator*() const { return (*list_)[rank_]; }
    Iterator& operator++() {
      ++rank_;
      return *this;
    }
    Iterator operator++(int) { return {*list_, rank_++}; }
    bool operator==(const Iterator&) const = default;

   private:
    const MergeList* list_;
    size_t rank_;
  };
  Iterator begin() const { return {*this, 0}; }
  Iterator end() const { return {*this, size()}; }

 private:
  TextList texts_;  // left, right, left, right, ...
};

}  // namespace attar
