#include "runtime/formats/spm.h"

#include <cstdio>
#include <queue>
#include <string>

#include "runtime/formats/unicode.h"

namespace attar {
namespace {

// A space mark after something that is none: a token that spans two words.
bool spans_words(std::string_view text) {
  bool seen_other = false;
  for (size_t at = 0; at < text.size();) {
    const bool space = text.substr(at, kSpmSpace.size()) == kSpmSpace;
    if (space && seen_other) return true;
    seen_other = seen_other || !space;
    at += space ? kSpmSpace.size() : 1;
  }
  return false;
}

}  // namespace

SpmEncoder::SpmEncoder(const TokenizerData& data) : data_(data) {
  ids_.reserve(data.tokens.size());
  for (size_t b = 0; b < 256; ++b) byte_ids_[b] = -1;
  for (size_t id = 0; id < data.tokens.size(); ++id) {
    const Token& token = data.tokens[id];
    if (token.kind == TokenKind::Byte) {
      unsigned byte = 0;
      if (std::sscanf(token.text.c_str(), "<0x%2x>", &byte) == 1) byte_ids_[byte & 255] = static_cast<int32_t>(id);
    } else if (token.kind == TokenKind::Normal || token.kind == TokenKind::UserDefined) {
      ids_.emplace(token.text, static_cast<int32_t>(id));
      words_are_apart_ = words_are_apart_ && !spans_words(token.text);
    }
  }
}

void SpmEncoder::encode(std::string_view text, std::vector<int32_t>& out) const {
  if (!words_are_apart_) return encode_word(text, out);
  size_t begin = 0;
  bool in_word = false;
  for (size_t at = 0; at < text.size();) {
    const bool space = text.substr(at, kSpmSpace.size()) == kSpmSpace;
    if (space && in_word) {
      encode_word(text.substr(begin, at - begin), out);
      begin = at;
    }
    in_word = !space;
    at += space ? kSpmSpace.size() : 1;
  }
  if (begin < text.size()) encode_word(text.substr(begin), out);
}

void SpmEncoder::encode_word(std::string_view word, std::vector<int32_t>& out) const {
  struct Symbol {
    std::string_view text;
    int32_t before, after;
  };
  struct Candidate {
    float score;
    int32_t at;
    size_t length;  // of the joined text: a symbol that has changed since has another
    bool operator<(const Candidate& other) const { return score != other.score ? score < other.score : at > other.at; }
  };
  std::vector<Symbol> symbols;
  for (size_t at = 0; at < word.size();) {
    const size_t length = decode_utf8(word, at).length;
    const auto i = static_cast<int32_t>(symbols.size());
    symbols.push_back({word.substr(at, length), i - 1, i + 1});
    at += length;
  }
  if (symbols.empty()) return;
  symbols.back().after = -1;
  const auto symbol = [&](int32_t i) -> Symbol& { return symbols[static_cast<size_t>(i)]; };
  std::priority_queue<Candidate> queue;
  const auto push = [&](int32_t at) {
    if (at < 0 || symbol(at).after < 0) return;
    const std::string_view joined(symbol(at).text.data(), symbol(at).text.size() + symbol(symbol(at).after).text.size());
    const auto found = ids_.find(joined);
    if (found != ids_.end()) queue.push({data_.tokens[static_cast<size_t>(found->second)].score, at, joined.size()});
  };
  for (int32_t i = 0; i < static_cast<int32_t>(symbols.size()); ++i) push(i);
  while (!queue.empty()) {
    const Candidate best = queue.top();
    queue.pop();
    Symbol& left = symbol(best.at);
    if (left.text.empty() || left.after < 0) continue;
    Symbol& right = symbol(left.after);
    if (left.text.size() + right.text.size() != best.length) continue;
    left.text = std::string_view(left.text.data(), best.length);
    right.text = {};
    left.after = right.after;
    if (left.after >= 0) symbol(left.after).before = best.at;
    push(left.before);
    push(best.at);
  }
  for (int32_t i = 0; i >= 0; i = symbol(i).after) emit(symbol(i).text, out);
}

void SpmEncoder::emit(std::string_view text, std::vector<int32_t>& out) const {
  if (const auto found = ids_.find(text); found != ids_.end()) {
    out.push_back(found->second);
    return;
  }
  bool has_bytes = true;
  for (const char b : text) has_bytes = has_bytes && byte_ids_[static_cast<unsigned char>(b)] >= 0;
  if (has_bytes) {
    for (const char b : text) out.push_back(byte_ids_[static_cast<unsigned char>(b)]);
  } else if (data_.unknown >= 0) {
    out.push_back(data_.unknown);
  }
}

}  // namespace attar
