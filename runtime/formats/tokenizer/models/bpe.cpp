#include "runtime/formats/tokenizer/models/bpe.h"

#include <algorithm>
#include <array>
#include <bit>
#include <span>
#include <string>

#include "runtime/base/error.h"
#include "runtime/formats/tokenizer/unicode.h"

namespace attar {
namespace {

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

constexpr uint32_t kNone = UINT32_MAX;

size_t place_of(int32_t left, int32_t right, size_t mask) {
  const uint64_t pair = (static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32) | static_cast<uint32_t>(right);
  return static_cast<size_t>((pair * 0x9E3779B97F4A7C15u) >> 20) & mask;
}

}  // namespace

std::string byte_mapped(std::string_view bytes) {
  std::string out;
  for (const char b : bytes) append_utf8(out, byte_characters()[static_cast<unsigned char>(b)]);
  return out;
}

std::string byte_unmapped(std::string_view text) {
  static const std::array<int16_t, 0x144> kBack = [] {  // U+0143 stands for the last of the 68
    std::array<int16_t, 0x144> back{};
    back.fill(-1);
    for (size_t b = 0; b < 256; ++b) back[byte_characters()[b]] = static_cast<int16_t>(b);
    return back;
  }();
  std::string out;
  out.reserve(text.size());
  for (size_t at = 0; at < text.size();) {
    if (const auto letter = static_cast<unsigned char>(text[at]); letter < 0x80 && kBack[letter] >= 0) {
      out += text[at++];  // printable: it stands for itself
      continue;
    }
    const Decoded c = decode_utf8(text, at);
    if (c.code_point >= kBack.size() || kBack[c.code_point] < 0) return std::string(text);
    out += static_cast<char>(kBack[c.code_point]);
    at += c.length;
  }
  return out;
}

BpeEncoder::BpeEncoder(const TokenizerData& data, const std::string& where, const TextIndex& texts,
                       const TextList& token_bytes)
    : merges_(data.merges.size()), ignore_merges_(data.ignore_merges) {
  if (merges_.size() >= kNone / 2)
    throw input_error(where, "the tokenizer has too many merges", "below 2^31", std::to_string(merges_.size()));
  ranks_.resize(std::bit_ceil(merges_.size() * 2 + 2), kNone);
  for (size_t b = 0; b < 256; ++b) byte_ids_[b] = texts.find(byte_mapped(std::string(1, static_cast<char>(b))));
  for (size_t first = 0; first < merges_.size(); first += kMergesAtOnce) {
    const auto some = std::span(merges_).subspan(first, std::min(kMergesAtOnce, merges_.size() - first));
    check_merges(data, first, texts, where, some);
    for (const MergeTokens& merge : some)
      __builtin_prefetch(&ranks_[place_of(merge.left, merge.right, ranks_.size() - 1)], 1);
    // Of a pair that is listed twice the last rank counts, as in `tokenizers`.
    for (size_t i = 0; i < some.size(); ++i) *slot_of(some[i].left, some[i].right) = static_cast<uint32_t>(first + i);
  }
  if (!ignore_merges_) return;
  whole_ = TextIndex(data.tokens.size());
  for (size_t id = 0; id < data.tokens.size(); ++id)
    if (data.tokens[id].kind == TokenKind::Normal) whole_.insert(token_bytes[id], static_cast<int32_t>(id));
}

uint32_t* BpeEncoder::slot_of(int32_t left, int32_t right) {
  const size_t mask = ranks_.size() - 1;
  for (size_t at = place_of(left, right, mask);; at = (at + 1) & mask) {
    const uint32_t rank = ranks_[at];
    if (rank == kNone || (merges_[rank].left == left && merges_[rank].right == right)) return &ranks_[at];
  }
}

MergeCandidate BpeEncoder::candidate(const Symbol& left, const Symbol& right) const {
  const uint32_t rank = *const_cast<BpeEncoder*>(this)->slot_of(left.id, right.id);
  if (rank == kNone) return {};
  return {rank, merges_[rank].merged};
}

std::vector<Symbol> BpeEncoder::symbols_of(std::string_view piece) const {
  std::vector<Symbol> symbols;
  symbols.reserve(piece.size());
  for (size_t at = 0; at < piece.size(); ++at) {
    const int32_t id = byte_ids_[static_cast<unsigned char>(piece[at])];
    if (id >= 0) symbols.push_back({id, static_cast<uint32_t>(at), static_cast<uint32_t>(at + 1)});
  }
  return symbols;
}

void BpeEncoder::encode(std::string_view piece, std::vector<int32_t>& out) const {
  const uint64_t hash = hash_bytes(piece);
  if (cache_.find(piece, hash, out)) return;
  const size_t begin = out.size();
  if (const int32_t id = ignore_merges_ ? whole_.find(piece) : -1; id >= 0) {
    out.push_back(id);
  } else {
    std::vector<Symbol> symbols = symbols_of(piece);
    const auto rules = [this](const Symbol& left, const Symbol& right) { return candidate(left, right); };
    merge_symbols(symbols, rules, [](int32_t) {});
    for (const Symbol& symbol : symbols) out.push_back(symbol.id);
  }
  cache_.store(piece, hash, out.data() + begin, out.size() - begin);
}

std::vector<int32_t> BpeEncoder::derivation(std::string_view piece) const {
  std::vector<Symbol> symbols = symbols_of(piece);
  if (symbols.size() != piece.size()) return {};
  std::vector<int32_t> ids;
  for (const Symbol& symbol : symbols) ids.push_back(symbol.id);
  const auto rules = [this](const Symbol& left, const Symbol& right) { return candidate(left, right); };
  merge_symbols(symbols, rules, [&](int32_t id) { ids.push_back(id); });
  if (symbols.size() != 1) return {};
  return ids;
}

}  // namespace attar
