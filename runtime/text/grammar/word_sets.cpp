#include "runtime/text/grammar/word_sets.h"

#include <algorithm>

namespace attar::runtime {
namespace {

uint32_t hash_of(std::span<const uint32_t> row) {
  uint64_t hash = 0x9E3779B97F4A7C15u + row.size();
  for (const uint32_t word : row) hash = (hash ^ word) * 0xD6E8FEB86659FD93u, hash ^= hash >> 32;
  return static_cast<uint32_t>(hash ^ hash >> 29);
}

}  // namespace

void WordSets::clear() {
  words_.clear(), hashes_.clear();
  begins_.assign(1, 0);
  table_.assign(64, 0);
}

uint32_t WordSets::add(std::span<const uint32_t> row) {
  const uint32_t hash = hash_of(row);
  const size_t mask = table_.size() - 1;
  size_t place = hash & mask;
  for (; table_[place] != 0; place = (place + 1) & mask) {
    const uint32_t id = table_[place] - 1;
    if (hashes_[id] == hash && std::ranges::equal(at(id), row)) return id;
  }
  const size_t before = words_.size();
  words_.insert(words_.end(), row.begin(), row.end());
  try {
    hashes_.push_back(hash);
    begins_.push_back(static_cast<uint32_t>(words_.size()));
  } catch (...) {  // for want of memory: as if it had not been tried
    words_.resize(before), hashes_.resize(size());
    throw;
  }
  table_[place] = size();
  if (2 * size_t{size()} > table_.size()) grow();
  return size() - 1;
}

void WordSets::grow() {
  table_.assign(2 * table_.size(), 0);
  const size_t mask = table_.size() - 1;
  for (uint32_t id = 0; id < size(); ++id) {
    size_t place = hashes_[id] & mask;
    while (table_[place] != 0) place = (place + 1) & mask;
    table_[place] = id + 1;
  }
}

}  // namespace attar::runtime
