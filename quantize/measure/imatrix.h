// llama.cpp's importance matrix, the GGUF that llama-imatrix writes: two tensors a matrix, NAME.in_sum2 (in), the sum
// of squares of each input, and NAME.counts, over how many tokens. Source: llama.cpp's tools/imatrix of 2026.
#pragma once

#include <string>
#include <vector>

#include "quantize/quantize.h"

namespace attar {

// Error{Input}: no such file, an entry without counts, a mean that is negative or not finite, no entry at all.
Importance read_imatrix(const std::string& path);

// What llama-quantize --imatrix takes, and read_imatrix: means over `tokens` tokens of the text files `sources`.
void write_imatrix(const std::string& path, const Importance& importance, int64_t tokens,
                   const std::vector<std::string>& sources);

}  // namespace attar
