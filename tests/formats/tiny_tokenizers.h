// Tokenizers of a few hundred tokens, made here.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "runtime/formats/tokenizer/tokenizer.h"

namespace attar {

using Ids = std::vector<int32_t>;

// Control token 0 "<|end|>", ids 1..256 the bytes 0..255, then one token for each merge.
TokenizerData byte_level(const std::vector<MergeList::Texts>& merges);

// Merges as texts of their own, to be changed and given back.
using MergeTexts = std::vector<MergeList::Texts>;
MergeTexts texts_of(const MergeList& merges);

// 0 <unk>, 1 <s>, 2 </s>, 3..258 bytes, then the given texts with scores -1, -2, ...
TokenizerData sentence_pieces(const std::vector<std::string>& texts);
inline constexpr int32_t kFirstPiece = 259;

}  // namespace attar
