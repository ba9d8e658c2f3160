// Vocabulary trimming: keep bytes and special tokens, what the data needs, and the first merges, closed under merge
// ancestors, so that the trimmed tokenizer gives the same pieces on covered text.
#pragma once

#include <cstdint>
#include <vector>

#include "compress/token_dataset.h"
#include "runtime/formats/tokenizer.h"

namespace attar {

struct VocabularyCut {
  TokenizerData tokenizer;
  std::vector<int32_t> kept;  // old id of each new id, ascending
};

// `target` tokens in all. Error{Usage} when bytes, special tokens and their ancestors alone need more.
VocabularyCut trim_vocabulary(const TokenizerData& tokenizer, const std::vector<int64_t>& counts, int64_t target);

std::vector<int64_t> count_tokens(const TokenDataset& data, int64_t vocab_size);  // -> (V)

// The data in the new ids: re-tokenized where text was lost is the caller's business; documents with a token that was
// dropped are re-encoded from their text with the new tokenizer.
TokenDataset remap_dataset(const TokenDataset& data, const Tokenizer& old_tokenizer, const Tokenizer& new_tokenizer,
                           const VocabularyCut& cut);

}  // namespace attar
