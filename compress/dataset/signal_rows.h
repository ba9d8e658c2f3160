// The signal of a document, handed on to one whose tokens are others or stand elsewhere: cut, or in another vocabulary.
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

}  // namespace attar
