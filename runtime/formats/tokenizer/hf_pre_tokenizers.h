// The pre-tokenizers of tokenizer.json files that Attar knows, as one line each.
#pragma once

#include <string_view>

namespace attar {

// (?i:...) and \p{N}{1,3} of Llama 3; Qwen 2 takes digits one by one; GPT-2's expression is what ByteLevel has built
// in.
inline constexpr std::string_view kLlama3Pattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
inline constexpr std::string_view kQwen2Pattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

enum class DigitSplit { None, Each };      // a Digits step before the others
enum class ByteLevelSplit { None, Gpt2 };  // ByteLevel's use_regex

struct HfPreTokenizer {
  std::string_view pre;  // TokenizerData::pre
  DigitSplit digits;
  std::string_view pattern;  // of a Split step; empty: none
  ByteLevelSplit byte_level;
};
inline constexpr HfPreTokenizer kHfPreTokenizers[] = {
    {"gpt-2", DigitSplit::None, "", ByteLevelSplit::Gpt2},
    {"smollm", DigitSplit::Each, "", ByteLevelSplit::Gpt2},
    {"llama-bpe", DigitSplit::None, kLlama3Pattern, ByteLevelSplit::None},
    {"qwen2", DigitSplit::None, kQwen2Pattern, ByteLevelSplit::None},
};

}  // namespace attar
