#include "runtime/formats/tokenizer/token_matcher.h"

namespace attar {

int32_t TokenMatcher::child(int32_t node, char byte) const {
  int32_t at = nodes_[static_cast<size_t>(node)].first_child;
  while (at != 0 && nodes_[static_cast<size_t>(at)].byte != byte) at = nodes_[static_cast<size_t>(at)].next_sibling;
  return at;
}

void TokenMatcher::add(std::string_view text, int32_t id) {
  int32_t node = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    int32_t& root = roots_[static_cast<unsigned char>(text[0])];
    int32_t next = i == 0 ? root : child(node, text[i]);
    if (next == 0) {
      next = static_cast<int32_t>(nodes_.size());
      nodes_.push_back({text[i], -1, 0, i == 0 ? 0 : nodes_[static_cast<size_t>(node)].first_child});
      (i == 0 ? root : nodes_[static_cast<size_t>(node)].first_child) = next;
    }
    node = next;
  }
  nodes_[static_cast<size_t>(node)].id = id;
}

TokenMatcher::Match TokenMatcher::find(std::string_view text, size_t from) const {
  Match match;
  if (nodes_.size() == 1) return match;
  for (size_t begin = from; begin < text.size(); ++begin) {
    int32_t node = roots_[static_cast<unsigned char>(text[begin])];
    for (size_t at = begin + 1; node != 0; node = child(node, text[at]), ++at) {
      const int32_t id = nodes_[static_cast<size_t>(node)].id;
      if (id >= 0) match = {id, begin, at};
      if (at == text.size()) break;
    }
    if (match.id >= 0) return match;
  }
  return match;
}

}  // namespace attar
