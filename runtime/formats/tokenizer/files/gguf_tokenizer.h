// tokenizer.ggml.* of a GGUF file, in and out. What GGUF has no key for stands under attar.tokenizer.*, which other
// readers pass over.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "runtime/formats/container/gguf.h"
#include "runtime/formats/tokenizer/tokenizer.h"

namespace attar {

// Takes the texts of the vocabulary out of the file: nobody needs them twice.
TokenizerData read_gguf_tokenizer(GgufFile&& file);
// Error{Usage} when GGUF cannot say how pieces are merged.
std::vector<GgufEntry> gguf_tokenizer_entries(const TokenizerData& data);
// What other readers of such a file do otherwise, a line each.
std::vector<std::string> gguf_tokenizer_notes(const TokenizerData& data);
// Whether read_gguf_tokenizer takes the key in, so that gguf_tokenizer_entries writes it or has a reason not to.
bool is_read_by_tokenizer(std::string_view key);

}  // namespace attar
