// A grammar as a pushdown automaton over bytes: nodes, each of which reads a byte, goes two ways, calls a rule or ends
// one. A character is the bytes of its UTF-8. Source: Thompson, "Regular Expression Search Algorithm" (1968), with
// calls as in Woods, "Transition Network Grammars for Natural Language Analysis" (1970).
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "runtime/text/grammar/rules.h"

namespace attar::runtime {

inline constexpr size_t kMostNodes = size_t{1} << 18;

struct Automaton {
  enum class Kind : uint8_t { End, Byte, Split, Call };
  struct Node {
    Kind kind = Kind::End;
    uint8_t first = 0, last = 0;  // of Byte: what it reads
    uint32_t to = 0;              // of Byte and Split: where it goes; of Call: the node that the rule starts at
    uint32_t other = 0;           // of Split: the other way; of Call: where it returns to
  };
  static constexpr uint32_t kEnd = 0;  // the only End: which rule it ends is the stack's to say

  std::vector<Node> nodes{};
  uint32_t start = kEnd;
  std::array<uint8_t, 256> class_of{};  // bytes that no node tells apart have one class
  std::vector<uint8_t> classes{};       // a byte of each
  std::string where{};                  // what messages call the grammar
};

// Error{Usage} naming the rule: one that no text can ever complete, left recursion, more nodes than kMostNodes.
Automaton compile(const Rules& rules);

}  // namespace attar::runtime
