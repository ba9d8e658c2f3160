// An endpoint's answer as a document of a model with another tokenizer: prompt and answer through its chat template,
// only the answer in the loss, and the endpoint's probabilities at those tokens that both tokenizers have in common.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>

#include "compress/token_dataset.h"
#include "recipes/endpoint/answer.h"
#include "runtime/formats/model_text.h"
#include "runtime/formats/text_file.h"
#include "runtime/formats/tokenizer/tokenizer.h"

namespace attar {

// Tokens by what an endpoint says of one: its bytes, or the text of a control token.
class TokensByText {
 public:
  explicit TokensByText(const Tokenizer& tokenizer);
  int32_t find(const std::string& text) const;  // -1: no token is this, or more than one
  std::string_view text_of(int32_t id) const;

 private:
  const Tokenizer& tokenizer_;
  std::unordered_map<std::string, int32_t> ids_;
};

// `prompt`: a chat that ends with a user turn, or the beginning of a text. An answer that was cut has no token that
// ends it. `signal_k` entries a token, 0 for none: where a token of the endpoint is one of ours at the same place, it
// and those of `likeliest` that are tokens of ours; all others are the rest of the mass. Elsewhere unused entries
// alone.
TokenDocument answer_document(const Document& prompt, const Answer& answer, const Tokenizer& tokenizer,
                              TextReader& reader, const TokensByText& tokens, int64_t signal_k);

// Tokens of the loss with a signal.
int64_t signalled_tokens(const TokenDocument& document, int64_t signal_k);

}  // namespace attar
