// Vocabulary trimming: keep bytes and special tokens, what the data needs, and the first merges, each with the tokens
// it is merged from. On text that the old tokenizer covers with kept tokens the trimmed one then gives the same pieces:
// the old run's merges all lie in the derivations of its results, so they are all there, and the trimmed rules are a
// subset in the same order, so at each step the same merge is the best one.
#pragma once

#include <cstdint>
#include <vector>

#include "runtime/formats/tokenizer/tokenizer.h"

namespace attar {

struct TokenDataset;  // compress/token_dataset.h

struct VocabularyCut {
  TokenizerData tokenizer;
  std::vector<int32_t> kept;  // old id of each new id, ascending
};

// `target` tokens in all; `counts` (V) of the data. Always kept: bytes, tokens with a role, control and user-defined
// tokens (but not those that only reserve a place and that nothing uses). Then what the data uses, the most frequent
// first, then the first merges (by score in SPM). Error{Usage} when what is always kept needs more than `target`.
VocabularyCut trim_vocabulary(const TokenizerData& tokenizer, const std::vector<int64_t>& counts, int64_t target);

std::vector<int64_t> count_tokens(const TokenDataset& data, int64_t vocab_size);  // -> (V)

// The data in the new ids. A stretch of text with a dropped token is tokenized again; its tokens keep the teacher's
// signal where old and new token cover the same bytes, and count in the loss where the old token at their first byte
// did.
TokenDataset remap_dataset(const TokenDataset& data, const Tokenizer& old_tokenizer, const Tokenizer& new_tokenizer,
                           const VocabularyCut& cut);

}  // namespace attar
