// The pre-tokenizers of byte-level BPE: how text is cut into the pieces that merging never crosses. Source: the
// tokenizer.json files of the families; which GGUF names mean which, llama.cpp's llama-vocab.cpp of 2026.
#pragma once

#include <functional>
#include <string>
#include <string_view>

namespace attar {

using PieceVisitor = std::function<void(std::string_view)>;
using SplitFunction = void (*)(std::string_view text, const PieceVisitor& visit);

// What else readers of GGUF take from a name.
struct PreTraits {
  bool ignores_merges = false;  // a piece that is a token is emitted whole
  bool adds_bos = false;        // unless tokenizer.ggml.add_bos_token says otherwise
  bool normalizes_nfc = false;  // as the family's tokenizer.json does; GGUF has no key for it
};

// One value of tokenizer.ggml.pre.
struct PreTokenizer {
  std::string_view name;
  std::string_view rule;  // the name that stands for the same expressions: "smollm" of "starcoder"
  PreTraits traits = {};
};

const PreTokenizer* find_pre_tokenizer(std::string_view name);  // nullptr: unknown
SplitFunction find_split(std::string_view name);                // nullptr: unknown
PreTraits traits_of_pre(std::string_view name);                 // of an unknown one: none
// The name of a pre-tokenizer with these expressions that `ignores_merges` or not; empty: there is none.
std::string_view pre_with(std::string_view rule, bool ignores_merges);
// Those that Attar writes, for messages: "gpt-2, smollm, ...".
std::string known_pre_tokenizers();
// The rule of a name; unknown names come back as they are.
std::string_view canonical_pre(std::string_view pre);

}  // namespace attar
