// Parts of check_tokenizer for those who go on with what it finds: texts by their bytes, and the tokens of a merge.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "runtime/formats/tokenizer/models/text_index.h"
#include "runtime/formats/tokenizer/tokenizer.h"

namespace attar {

// All that check_tokenizer refuses but merges. -> ids by text; the data's texts must stay where they are
TextIndex check_tokens(const TokenizerData& data, const std::string& where);

struct MergeTokens {
  int32_t left = -1, right = -1, merged = -1;
};
// The tokens of the merges from `first` on, as many as `out` has room for: at most kMergesAtOnce, whose places in
// memory are fetched together. Error{Input}: a token is absent.
inline constexpr size_t kMergesAtOnce = 16;
void check_merges(const TokenizerData& data, size_t first, const TextIndex& texts, const std::string& where,
                  std::span<MergeTokens> out);

}  // namespace attar
