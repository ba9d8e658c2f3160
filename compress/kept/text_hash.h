// The text of a pass by its contents: what measurements and codes depend on, beside the model.
#pragma once

#include <string>
#include <vector>

#include "compress/causal_lm.h"
#include "compress/token_dataset.h"

namespace attar {

std::string text_hash(const std::vector<TokenBatch>& batches);
// Of all documents: their tokens, which of them count in the loss, and how much.
std::string text_hash(const TokenDataset& data);

}  // namespace attar
