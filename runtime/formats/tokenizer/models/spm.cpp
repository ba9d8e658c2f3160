#include "runtime/formats/tokenizer/models/spm.h"

#include <algorithm>
#include <numeric>

#include "runtime/formats/tokenizer/unicode.h"

namespace attar {
namespace {

constexpr size_t kNeighbourBits = size_t{1} << 20;

size_t neighbour_bit(uint32_t left, uint32_t right) {
  return static_cast<size_t>(((uint64_t{left} << 32 | right) * 0x9E3779B97F4A7C15u) >> 44);
}
static_assert(kNeighbourBits == size_t{1} << (64 - 44));

// Place of every token when sorted by falling score, those of equal scores alike. User-defined tokens come first.
std::vector<uint32_t> orders_of(const std::vector<Token>& tokens) {
  const auto key = [&](uint32_t id) { return std::pair(is_merged_first(tokens[id]), tokens[id].score); };
  std::vector<uint32_t> by_score(tokens.size()), order(tokens.size());
  std::iota(by_score.begin(), by_score.end(), 0u);
  std::stable_sort(by_score.begin(), by_score.end(), [&](uint32_t a, uint32_t b) { return key(a) > key(b); });
  for (size_t i = 1; i < by_score.size(); ++i) {
    const bool equal = key(by_score[i]) == key(by_score[i - 1]);
    order[by_score[i]] = equal ? order[by_score[i - 1]] : static_cast<uint32_t>(i);
  }
  return order;
}

int hex_digit(char c) {
  return c >= '0' && c <= '9'   ? c - '0'
         : c >= 'A' && c <= 'F' ? c - 'A' + 10
         : c >= 'a' && c <= 'f' ? c - 'a' + 10
                                : -1;
}

}  // namespace

int byte_of_token(std::string_view text) {
  if (text.size() != 6 || text.substr(0, 3) != "<0x" || text[5] != '>') return -1;
  const int high = hex_digit(text[3]), low = hex_digit(text[4]);
  return high < 0 || low < 0 ? -1 : high * 16 + low;
}

void append_spm_escaped(std::string& out, std::string_view text) {
  out.reserve(out.size() + text.size() + text.size() / 2);
  for (const char c : text) c == ' ' ? out.append(kSpmSpace) : out.append(1, c);
}

std::string spm_escaped(std::string_view text) {
  std::string out;
  append_spm_escaped(out, text);
  return out;
}

std::string spm_unescaped(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t at = 0; at < text.size();) {
    const bool space = text.compare(at, kSpmSpace.size(), kSpmSpace) == 0;
    out += space ? ' ' : text[at];
    at += space ? kSpmSpace.size() : 1;
  }
  return out;
}

SpmEncoder::SpmEncoder(const TokenizerData& data)
    : ids_(data.tokens.size()),
      order_(orders_of(data.tokens)),
      unknown_(data.unknown),
      fuse_unknown_(data.fuse_unknown),
      merge_ties_(data.merge_ties),
      neighbours_(kNeighbourBits / 64) {
  std::fill(std::begin(byte_ids_), std::end(byte_ids_), -1);
  for (size_t id = 0; id < data.tokens.size(); ++id) {
    const Token& token = data.tokens[id];
    if (token.kind == TokenKind::Byte) byte_ids_[byte_of_token(token.text)] = static_cast<int32_t>(id);
    if (token.kind == TokenKind::Normal || (token.kind == TokenKind::UserDefined && !token.rule.unmerged))
      add_text(token.text, static_cast<int32_t>(id));
  }
  has_all_bytes_ = std::find(std::begin(byte_ids_), std::end(byte_ids_), -1) == std::end(byte_ids_);
}

void SpmEncoder::add_text(std::string_view text, int32_t id) {
  ids_.insert(text, id);
  uint32_t left = 0;
  for (size_t at = 0; at < text.size();) {
    const Decoded c = decode_utf8(text, at);
    const size_t bit = neighbour_bit(left, c.code_point);
    if (at > 0) neighbours_[bit / 64] |= uint64_t{1} << (bit % 64);
    left = c.code_point;
    at += c.length;
  }
}

bool SpmEncoder::may_join(uint32_t left, uint32_t right) const {
  const size_t bit = neighbour_bit(left, right);
  return ((neighbours_[bit / 64] >> (bit % 64)) & 1) != 0;
}

MergeCandidate SpmEncoder::candidate(std::string_view piece, const Symbol& left, const Symbol& right) const {
  if (left.id < 0 || right.id < 0) return {};
  const int32_t merged = ids_.find(piece.substr(left.begin, right.end - left.begin));
  if (merged < 0) return {};
  // As in `tokenizers`: of equal scores the longest left part goes first, then the longest right part, or the lower
  // ids.
  const uint64_t sizes = uint64_t{left.end - left.begin} << 32 | (right.end - right.begin);
  const uint64_t ids = uint64_t{static_cast<uint32_t>(left.id)} << 32 | static_cast<uint32_t>(right.id);
  return {order_[static_cast<size_t>(merged)], merged, merge_ties_ == MergeTies::LongestLeft ? ~sizes : ids};
}

std::vector<Symbol> SpmEncoder::symbols_of(std::string_view piece) const {
  std::vector<Symbol> symbols;
  symbols.reserve(piece.size());
  for (size_t at = 0; at < piece.size();) {
    const size_t end = at + decode_utf8(piece, at).length;
    symbols.push_back({ids_.find(piece.substr(at, end - at)), static_cast<uint32_t>(at), static_cast<uint32_t>(end)});
    at = end;
  }
  return symbols;
}

void SpmEncoder::encode(std::string_view text, std::vector<int32_t>& out) const {
  const size_t first_id = out.size();
  size_t begin = 0;
  uint32_t left = 0;
  for (size_t at = 0; at < text.size();) {
    const Decoded c = decode_utf8(text, at);
    if (at > begin && !may_join(left, c.code_point)) {
      encode_piece(text.substr(begin, at - begin), first_id, out);
      begin = at;
    }
    left = c.code_point;
    at += c.length;
  }
  if (begin < text.size()) encode_piece(text.substr(begin), first_id, out);
}

void SpmEncoder::encode_piece(std::string_view piece, size_t first_id, std::vector<int32_t>& out) const {
  const uint64_t hash = hash_bytes(piece);
  if (cache_.find(piece, hash, out)) return;
  const size_t begin = out.size();
  std::vector<Symbol> symbols = symbols_of(piece);
  const auto rules = [&](const Symbol& left, const Symbol& right) { return candidate(piece, left, right); };
  merge_symbols(symbols, rules, [](int32_t) {});
  for (const Symbol& symbol : symbols) emit(piece, symbol, first_id, out);
  // Unknown characters fuse across pieces, so only without them is a piece the same everywhere.
  if (has_all_bytes_) cache_.store(piece, hash, out.data() + begin, out.size() - begin);
}

void SpmEncoder::emit(std::string_view piece, const Symbol& symbol, size_t first_id, std::vector<int32_t>& out) const {
  if (symbol.id >= 0) {
    out.push_back(symbol.id);
    return;
  }
  const std::string_view bytes = piece.substr(symbol.begin, symbol.end - symbol.begin);
  const auto has_byte = [this](char b) { return byte_ids_[static_cast<unsigned char>(b)] >= 0; };
  if (has_all_bytes_ || std::all_of(bytes.begin(), bytes.end(), has_byte)) {
    for (const char b : bytes) out.push_back(byte_ids_[static_cast<unsigned char>(b)]);
  } else if (unknown_ >= 0 && (!fuse_unknown_ || out.size() == first_id || out.back() != unknown_)) {
    out.push_back(unknown_);
  }
}

std::vector<int32_t> SpmEncoder::derivation(std::string_view text) const {
  std::vector<Symbol> symbols = symbols_of(text);
  std::vector<int32_t> ids;
  for (const Symbol& symbol : symbols) {
    if (symbol.id < 0) return {};
    ids.push_back(symbol.id);
  }
  const auto rules = [&](const Symbol& left, const Symbol& right) { return candidate(text, left, right); };
  merge_symbols(symbols, rules, [&](int32_t id) { ids.push_back(id); });
  if (symbols.size() != 1) return {};
  return ids;
}

}  // namespace attar
