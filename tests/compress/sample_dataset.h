// Two short documents, one with a signal of two tokens.
#pragma once

#include <cmath>

#include "compress/token_dataset.h"

namespace attar {

inline TokenDataset sample() {
  TokenDataset data;
  data.tokenizer_hash = "abc";
  data.signal_k = 2;
  data.signal_numerics = "fp32";
  data.documents.push_back(
      {{1, 2, 3}, {0, 1, 1}, {-1, -1, 5, 6, 7, -1}, {-HUGE_VALF, -HUGE_VALF, -0.5f, -1.5f, -0.1f, -3.0f}});
  data.documents.push_back({{9, 8}, {0, 1}, {}, {}});
  return data;
}

}  // namespace attar
