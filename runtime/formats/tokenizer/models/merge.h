// Merging of adjacent symbols, the heart of BPE and SPM: the best candidate pair first, the leftmost of equal ones,
// until no pair is a candidate. Source: Sennrich et al. 2016 (arXiv 1508.07909).
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <tuple>
#include <vector>

namespace attar {

struct Symbol {
  int32_t id;           // -1: the text is no token; such a symbol never merges
  uint32_t begin, end;  // bytes of the piece
};

struct MergeCandidate {
  uint32_t order = UINT32_MAX;  // lower goes first; UINT32_MAX: no candidate
  int32_t merged = -1;
  uint64_t tie = 0;  // lower goes first among equal orders; then the leftmost

  bool exists() const { return order != UINT32_MAX; }
  bool before(const MergeCandidate& other) const {
    return order != other.order ? order < other.order : tie < other.tie;
  }
};

inline constexpr size_t kShortPiece = 40;  // symbols; above, a heap beats scanning for the best pair

// `rules(left, right)` gives the candidate of two adjacent symbols; `on_merge(id)` hears of each merge as it is done.
template <class Rules, class OnMerge>
void merge_short(std::vector<Symbol>& symbols, const Rules& rules, OnMerge&& on_merge) {
  std::array<MergeCandidate, kShortPiece> pairs;  // pairs[i] joins symbols i and i + 1
  size_t n = symbols.size();
  for (size_t i = 0; i + 1 < n; ++i) pairs[i] = rules(symbols[i], symbols[i + 1]);
  while (n > 1) {
    size_t best = 0;
    for (size_t i = 1; i + 1 < n; ++i)
      if (pairs[i].before(pairs[best])) best = i;
    if (!pairs[best].exists()) break;
    symbols[best] = {pairs[best].merged, symbols[best].begin, symbols[best + 1].end};
    on_merge(pairs[best].merged);
    for (size_t i = best + 1; i + 1 < n; ++i) {
      symbols[i] = symbols[i + 1];
      pairs[i - 1] = pairs[i];
    }
    --n;
    if (best > 0) pairs[best - 1] = rules(symbols[best - 1], symbols[best]);
    if (best + 1 < n) pairs[best] = rules(symbols[best], symbols[best + 1]);
  }
  symbols.resize(n);
}

template <class Rules, class OnMerge>
void merge_long(std::vector<Symbol>& symbols, const Rules& rules, OnMerge&& on_merge) {
  constexpr uint32_t kNone = UINT32_MAX;
  struct Entry {
    MergeCandidate candidate;
    uint32_t at;
    uint32_t end;  // of the right symbol: an entry whose pair has changed since has another
    bool operator<(const Entry& other) const {  // of std heaps: the largest is on top
      return std::tie(other.candidate.order, other.candidate.tie, other.at) <
             std::tie(candidate.order, candidate.tie, at);
    }
  };
  const auto n = static_cast<uint32_t>(symbols.size());
  std::vector<uint32_t> before(n), after(n);
  std::vector<Entry> heap;
  heap.reserve(n);
  const auto entry_at = [&](uint32_t at) {
    return Entry{rules(symbols[at], symbols[after[at]]), at, symbols[after[at]].end};
  };
  for (uint32_t i = 0; i < n; ++i) {
    before[i] = i == 0 ? kNone : i - 1;
    after[i] = i + 1 < n ? i + 1 : kNone;
  }
  for (uint32_t i = 0; i + 1 < n; ++i)
    if (const Entry entry = entry_at(i); entry.candidate.exists()) heap.push_back(entry);
  std::make_heap(heap.begin(), heap.end());
  const auto push = [&](uint32_t at) {
    if (at == kNone || after[at] == kNone) return;
    const Entry entry = entry_at(at);
    if (!entry.candidate.exists()) return;
    heap.push_back(entry);
    std::push_heap(heap.begin(), heap.end());
  };
  while (!heap.empty()) {
    std::pop_heap(heap.begin(), heap.end());
    const Entry best = heap.back();
    heap.pop_back();
    const uint32_t right = after[best.at];
    // Symbols only grow to the right, so an end that still fits says that the pair has not changed; a symbol that was
    // merged away has no `after`.
    if (right == kNone || symbols[right].end != best.end) continue;
    symbols[best.at].id = best.candidate.merged;
    symbols[best.at].end = best.end;
    on_merge(best.candidate.merged);
    after[best.at] = after[right];
    if (after[right] != kNone) before[after[right]] = best.at;
    after[right] = kNone;
    symbols[right].id = -2;
    push(before[best.at]);
    push(best.at);
  }
  uint32_t kept = 0;
  for (uint32_t i = 0; i < n; ++i)
    if (symbols[i].id != -2) symbols[kept++] = symbols[i];
  symbols.resize(kept);
}

template <class Rules, class OnMerge>
void merge_symbols(std::vector<Symbol>& symbols, const Rules& rules, OnMerge&& on_merge) {
  if (symbols.size() <= kShortPiece)
    merge_short(symbols, rules, on_merge);
  else
    merge_long(symbols, rules, on_merge);
}

}  // namespace attar
