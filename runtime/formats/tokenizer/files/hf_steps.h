// The normalizer and pre-tokenizer of a tokenizer.json, into TokenizerData.
#pragma once

#include <string>

#include "runtime/formats/tokenizer/files/hf_json.h"
#include "runtime/formats/tokenizer/tokenizer.h"

namespace attar::hf {

// Sets kind, pre, the space prefix and normalize_nfc. Error{Input} naming a step that Attar does not know.
void read_steps(const Json& json, const std::string& where, TokenizerData& data);

// Whether text is changed before tokens with `normalized` are looked for.
bool has_normalizer(const TokenizerData& data);

}  // namespace attar::hf
