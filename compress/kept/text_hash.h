// The text of a pass by its contents: what measurements and codes depend on, beside the model.
#pragma once

#include <string>
#include <vector>

#include "compress/causal_lm.h"

namespace attar {

std::string text_hash(const std::vector<TokenBatch>& batches);

}  // namespace attar
