// Parts of check_tokenizer for those who go on with what it finds: texts by their bytes, and the tokens of a merge.
#pragma once

#include <cstdint>
#include <string>

#include "runtime/formats/tokenizer/models/text_index.h"
#include "runtime/formats/tokenizer/tokenizer.h"

namespace attar {

// All that check_tokenizer refuses but merges. -> ids by text; the data's texts must stay where they are
TextIndex check_tokens(const TokenizerData& data, const std::string& where);

struct MergeTokens {
  int32_t left, right, merged;
};
// Error{Input}: a token is absent. `joined` is scratch.
MergeTokens check_merge(const TokenizerData& data, size_t rank, const TextIndex& texts, const std::string& where,
                        std::string& joined);

}  // namespace attar
