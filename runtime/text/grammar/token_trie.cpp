#include "runtime/text/grammar/token_trie.h"

#include <algorithm>

namespace attar::runtime {
namespace {

bool is_text(const Tokenizer& tokenizer, int32_t id) {
  const TokenKind kind = tokenizer.data().tokens[static_cast<size_t>(id)].kind;
  return !tokenizer.is_control(id) && kind != TokenKind::Unknown && kind != TokenKind::Unused;
}

size_t common(const std::string& a, const std::string& b) {
  const auto end = std::mismatch(a.begin(), a.end(), b.begin(), b.end());
  return static_cast<size_t>(end.first - a.begin());
}

}  // namespace

TokenTrie::TokenTrie(const Tokenizer& tokenizer) {
  const auto n = static_cast<int32_t>(tokenizer.vocab_size());
  bytes.resize(static_cast<size_t>(n));
  for (int32_t id = 0; id < n; ++id) {
    if (tokenizer.ends_generation(id)) {
      ends.push_back(id);
    } else if (is_text(tokenizer, id) && tokenizer.token_bytes(id).size() < UINT16_MAX) {
      bytes[static_cast<size_t>(id)] = tokenizer.token_bytes(id);
      if (!bytes[static_cast<size_t>(id)].empty()) ids.push_back(id);
    }
  }
  std::sort(ids.begin(), ids.end(), [&](int32_t a, int32_t b) {
    const int order = bytes[static_cast<size_t>(a)].compare(bytes[static_cast<size_t>(b)]);
    return order != 0 ? order < 0 : a < b;
  });
  std::vector<uint32_t> path;  // the nodes of the token before
  const std::string none;
  const std::string* before = &none;
  for (uint32_t place = 0; place < ids.size(); ++place) {
    const std::string& text = bytes[static_cast<size_t>(ids[place])];
    const size_t shared = common(*before, text);
    for (size_t i = shared; i < path.size(); ++i) nodes[path[i]].skip = static_cast<uint32_t>(nodes.size());
    path.resize(shared);
    for (size_t i = shared; i < text.size(); ++i) {
      path.push_back(static_cast<uint32_t>(nodes.size()));
      nodes.push_back({0, place, static_cast<uint16_t>(i), static_cast<uint8_t>(text[i])});
    }
    longest_bytes = std::max(longest_bytes, text.size());
    before = &text;
  }
  for (const uint32_t node : path) nodes[node].skip = static_cast<uint32_t>(nodes.size());
  nodes.push_back({static_cast<uint32_t>(nodes.size()) + 1, static_cast<uint32_t>(ids.size()), 0, 0});
}

}  // namespace attar::runtime
