// What stands for an id that no token has: rows of an embedding beyond the tokenizer, holes in a vocabulary. Named as
// converters to GGUF name it.
#pragma once

#include <cstddef>
#include <string>

#include "runtime/formats/tokenizer/tokenizer.h"

namespace attar {

inline Token padding_token(size_t id) {
  return {"[PAD" + std::to_string(id) + "]", 0.0f, TokenKind::Unused};
}
inline bool is_padding(const Token& token, size_t id) {
  return token.kind == TokenKind::Unused && token.text == padding_token(id).text;
}

}  // namespace attar
