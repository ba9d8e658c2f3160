// The signal of a document: what it leaves open, and how it is handed on to one whose tokens are others or stand
// elsewhere: cut, or in another vocabulary.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "compress/token_dataset.h"

namespace attar {

// Gives token t of `to` row rows[t] of the signal of `from`, -1: none. new_id: the id of each token in the vocabulary
// of `to`, -1: cut away; empty: the same. A signal on disk stays there: `to` says which rows it has, and new_id is the
// data's to keep (TokenDataset::store_ids). `of`: the data of `from`. Error{Input}: a sample is damaged.
void hand_on_signal(const TokenDocument& from, const TokenDataset& of, const std::vector<int32_t>& rows,
                    std::span<const int32_t> new_id, TokenDocument& to);

// Tokens of the loss that the signal of the document, in memory, says nothing about: it names no token of the
// vocabulary that has a probability. `of`: the data of the document.
int64_t silent_tokens(const TokenDocument& document, const TokenDataset& of);

}  // namespace attar
