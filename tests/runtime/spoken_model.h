// Tiny models that read and write text, for tests of generation and verification.
#pragma once

#include <vector>

#include "runtime/formats/model_file.h"

namespace attar::runtime {

// An SPM tokenizer: token 0 unknown, 1 BOS, 2 EOS, then these. <0xNN> becomes a byte token.
TokenizerData spoken_tokenizer(const std::vector<std::string>& texts);

// A llama that always finds the next id in the vocabulary likeliest: 1, 2, ... V - 1, 0, with logit `strength` against
// 0.
ModelFile successor_model(const TokenizerData& tokenizer, double strength, int64_t context_length = 64);

// The same weights with another tokenizer of the same size.
ModelFile with_tokenizer(const ModelFile& file, TokenizerData tokenizer);

// The model without one token: its rows of embedding and head are cut out.
ModelFile without_token(const ModelFile& file, int32_t id);

}  // namespace attar::runtime
