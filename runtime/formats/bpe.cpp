#include "runtime/formats/bpe.h"

#include <algorithm>
#include <array>
#include <bit>
#include <queue>
#include <unordered_map>

#include "runtime/formats/unicode.h"

namespace attar {
namespace {

constexpr size_t kShortPiece = 48;  // above, a heap beats scanning for the best pair

// Printable bytes stand for themselves, the other 68 for U+0100 on.
const std::array<uint32_t, 256>& byte_characters() {
  static const std::array<uint32_t, 256> kTable = [] {
    std::array<uint32_t, 256> table{};
    uint32_t next = 0x100;
    for (uint32_t b = 0; b < 256; ++b) {
      const bool printable = (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
      table[b] = printable ? b : next++;
    }
    return table;
  }();
  return kTable;
}

uint64_t key_of(int32_t left, int32_t right) { return (static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32) | static_cast<uint32_t>(right); }
size_t slot_of(uint64_t key, size_t mask) { return static_cast<size_t>((key * 0x9E3779B97F4A7C15u) >> 20) & mask; }

}  // namespace

std::string byte_mapped(std::string_view bytes) {
  std::string out;
  for (const char b : bytes) append_utf8(out, byte_characters()[static_cast<unsigned char>(b)]);
  return out;
}

std::string byte_unmapped(std::string_view text) {
  static const std::unordered_map<uint32_t, char> kBack = [] {
    std::unordered_map<uint32_t, char> back;
    for (size_t b = 0; b < 256; ++b) back[byte_characters()[b]] = static_cast<char>(b);
    return back;
  }();
  std::string out;
  for (size_t at = 0; at < text.size();) {
    const Decoded c = decode_utf8(text, at);
    const auto found = kBack.find(c.code_point);
    if (found == kBack.end()) return std::string(text);
    out += found->second;
    at += c.length;
  }
  return out;
}

BpeEncoder::BpeEncoder(const TokenizerData& data) : unknown_(data.unknown) {
  std::unordered_map<std::string_view, int32_t> ids;
  ids.reserve(data.tokens.size());
  for (size_t id = 0; id < data.tokens.size(); ++id)
    ids.emplace(data.tokens[id].text, static_cast<int32_t>(id));
  for (size_t b = 0; b < 256; ++b) {
    const auto found = ids.find(byte_mapped(std::string(1, static_cast<char>(b))));
    byte_ids_[b] = found == ids.end() ? -1 : found->second;
  }
  merges_.resize(std::bit_ceil(std::max<size_t>(16, data.merges.size() * 2)));
  const size_t mask = merges_.size() - 1;
  for (size_t rank = 0; rank < data.merges.size(); ++rank) {
    const auto& [left, right] = data.merges[rank];
    const uint64_t key = key_of(ids.at(left), ids.at(right));
    size_t slot = slot_of(key, mask);
    while (merges_[slot].pair != UINT64_MAX && merges_[slot].pair != key) slot = (slot + 1) & mask;
    if (merges_[slot].pair == key) continue;  // the first rank of a pair counts
    merges_[slot] = {key, static_cast<uint32_t>(rank), ids.at(left + right)};
  }
  if (!data.ignore_merges) return;
  for (size_t id = 0; id < data.tokens.size(); ++id)
    if (data.tokens[id].kind == TokenKind::Normal) whole_.push_back({byte_unmapped(data.tokens[id].text), static_cast<int32_t>(id)});
  std::sort(whole_.begin(), whole_.end(), [](const Whole& a, const Whole& b) { return a.text < b.text; });
}

const BpeEncoder::Merge* BpeEncoder::find(int32_t left, int32_t right) const {
  const uint64_t key = key_of(left, right);
  const size_t mask = merges_.size() - 1;
  for (size_t slot = slot_of(key, mask); merges_[slot].pair != UINT64_MAX; slot = (slot + 1) & mask)
    if (merges_[slot].pair == key) return &merges_[slot];
  return nullptr;
}

void BpeEncoder::merge_short(std::vector<int32_t>& ids) const {
  struct Candidate {
    uint32_t rank;
    int32_t merged;
  };
  const auto candidate = [&](size_t i) {
    const Merge* merge = find(ids[i], ids[i + 1]);
    return merge == nullptr ? Candidate{UINT32_MAX, -1} : Candidate{merge->rank, merge->merged};
  };
  std::array<Candidate, kShortPiece> pairs;
  for (size_t i = 0; i + 1 < ids.size(); ++i) pairs[i] = candidate(i);
  while (ids.size() > 1) {
    size_t best = 0;
    for (size_t i = 1; i + 1 < ids.size(); ++i)
      if (pairs[i].rank < pairs[best].rank) best = i;
    if (pairs[best].rank == UINT32_MAX) return;
    ids[best] = pairs[best].merged;
    ids.erase(ids.begin() + static_cast<std::ptrdiff_t>(best) + 1);
    std::copy(pairs.begin() + static_cast<std::ptrdiff_t>(best) + 1, pairs.begin() + static_cast<std::ptrdiff_t>(ids.size()),
              pairs.begin() + static_cast<std::ptrdiff_t>(best));
    if (best > 0) pairs[best - 1] = candidate(best - 1);
    if (best + 1 < ids.size()) pairs[best] = candidate(best);
  }
}

void BpeEncoder::merge_long(std::vector<int32_t>& ids) const {
  struct Link {
    int32_t id, before, after;
  };
  struct Candidate {
    uint32_t rank;
    int32_t at;
    int32_t left, right, merged;
    bool operator>(const Candidate& other) const { return rank != other.rank ? rank > other.rank : at > other.at; }
  };
  std::vector<Link> links(ids.size());
  const auto n = static_cast<int32_t>(ids.size());
  for (int32_t i = 0; i < n; ++i) links[static_cast<size_t>(i)] = {ids[static_cast<size_t>(i)], i - 1, i + 1 < n ? i + 1 : -1};
  std::priority_queue<Candidate, std::vector<Candidate>, std::greater<>> queue;
  const auto link = [&](int32_t i) -> Link& { return links[static_cast<size_t>(i)]; };
  const auto push = [&](int32_t at) {
    if (at < 0 || link(at).after < 0) return;
    const int32_t right = link(link(at).after).id;
    if (const Merge* merge = find(link(at).id, right)) queue.push({merge->rank, at, link(at).id, right, merge->merged});
  };
  for (int32_t i = 0; i + 1 < n; ++i) push(i);
  while (!queue.empty()) {
    const Candidate best = queue.top();
    queue.pop();
    Link& left = link(best.at);
    if (left.id != best.left || left.after < 0 || link(left.after).id != best.right) continue;  // merged away meanwhile
    Link& right = link(left.after);
    right.id = -1;
    left.id = best.merged;
    left.after = right.after;
    if (left.after >= 0) link(left.after).before = best.at;
    push(left.before);
    push(best.at);
  }
  ids.clear();
  for (int32_t i = 0; i >= 0; i = link(i).after) ids.push_back(link(i).id);
}

void BpeEncoder::encode(std::string_view piece, std::vector<int32_t>& out) const {
  if (!whole_.empty()) {
    const auto at = std::lower_bound(whole_.begin(), whole_.end(), piece, [](const Whole& w, std::string_view p) { return w.text < p; });
    if (at != whole_.end() && at->text == piece) {
      out.push_back(at->id);
      return;
    }
  }
  std::vector<int32_t> ids;
  ids.reserve(piece.size());
  for (const char b : piece) {
    const int32_t id = byte_ids_[static_cast<unsigned char>(b)];
    if (id >= 0) ids.push_back(id);
    else if (unknown_ >= 0) ids.push_back(unknown_);
  }
  if (ids.size() > kShortPiece) merge_long(ids);
  else merge_short(ids);
  out.insert(out.end(), ids.begin(), ids.end());
}

}  // namespace attar
