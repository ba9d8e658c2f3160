// tokenizer.ggml.* of a GGUF file, in and out.
#pragma once

#include <vector>

#include "runtime/formats/container/gguf.h"
#include "runtime/formats/tokenizer/tokenizer.h"

namespace attar {

TokenizerData read_gguf_tokenizer(const GgufFile& file);
std::vector<GgufEntry> gguf_tokenizer_entries(const TokenizerData& data);

}  // namespace attar
