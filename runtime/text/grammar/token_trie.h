// A vocabulary's bytes as a tree, so that what many tokens begin with is read once for all of them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "runtime/formats/tokenizer/tokenizer.h"

namespace attar::runtime {

// Control tokens, the unknown one and those that stand for no byte are in no text, so not here; neither are those that
// end a text: these are listed.
struct TokenTrie {
  struct Node {
    uint32_t skip;    // the node behind all that begin with this one's bytes
    uint32_t tokens;  // where those of exactly its bytes begin in `ids`; they end where the next node's begin
    uint16_t depth;   // bytes before this one's
    uint8_t byte;
  };
  std::vector<Node> nodes{};         // depth first, bytes ascending; one more behind the last
  std::vector<int32_t> ids{};        // in the order of their nodes
  std::vector<int32_t> ends{};       // tokens that end a text
  std::vector<std::string> bytes{};  // (V) of each token; "" of those that are not here
  size_t longest_bytes = 0;

  explicit TokenTrie(const Tokenizer& tokenizer);
};

}  // namespace attar::runtime
