// The split expressions of byte-level BPE, as hand-written scanners. Source: the tokenizer.json files of the families;
// plain regular expressions are given beside each scanner. A lookahead never sees past the end of its piece.
#pragma once

#include <functional>
#include <string_view>

namespace attar {

using PieceVisitor = std::function<void(std::string_view)>;
using SplitFunction = void (*)(std::string_view text, const PieceVisitor& visit);

// nullptr: unknown. Names are GGUF's tokenizer.ggml.pre, aliases included ("starcoder" is "smollm").
SplitFunction find_split(std::string_view pre);
// The name Attar writes for an alias: "starcoder" -> "smollm". Unknown names come back as they are.
std::string_view canonical_pre(std::string_view pre);

}  // namespace attar
