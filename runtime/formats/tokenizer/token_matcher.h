// Finds tokens that are written out in a text: the leftmost match, the longest of those that begin there.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>
#include <vector>

namespace attar {

class TokenMatcher {
 public:
  TokenMatcher() : roots_{} {}

  void add(std::string_view text, int32_t id);  // text is not empty

  struct Match {
    int32_t id = -1;
    size_t begin = 0, end = 0;
  };
  // The first match at or after `from`; id -1 when there is none.
  Match find(std::string_view text, size_t from) const;

 private:
  struct Node {
    char byte = 0;
    int32_t id = -1;
    int32_t first_child = 0, next_sibling = 0;  // 0: none
  };
  int32_t child(int32_t node, char byte) const;

  std::array<int32_t, 256> roots_;  // by the first byte; 0: none
  std::vector<Node> nodes_ = {Node{}};
};

}  // namespace attar
