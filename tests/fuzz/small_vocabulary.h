// A vocabulary that can write anything, for the targets that follow a grammar: a token a byte, and a few words.
#pragma once

#include <cstdio>
#include <utility>

#include "runtime/formats/tokenizer/tokenizer.h"

namespace attar::fuzz {

inline constexpr int32_t kUnknown = 0, kBos = 1, kEos = 2, kFirstByte = 3, kFirstWord = kFirstByte + 256;

inline Tokenizer small_vocabulary() {
  TokenizerData data;
  data.kind = TokenizerKind::Spm;
  data.tokens = {{.text = "<unk>", .kind = TokenKind::Unknown},
                 {.text = "<s>", .kind = TokenKind::Control},
                 {.text = "</s>", .kind = TokenKind::Control}};
  data.unknown = kUnknown, data.bos = kBos, data.eos = kEos;
  for (int byte = 0; byte < 256; ++byte) {
    char text[8];
    std::snprintf(text, sizeof text, "<0x%02X>", static_cast<unsigned>(byte));
    data.tokens.push_back({.text = text, .kind = TokenKind::Byte});
  }
  for (const char* text : {"ab", "\": \"", "{\"", "\u65E5", "10", ", \"", "true", "\u2581\u2581"})
    data.tokens.push_back({.text = text});
  return Tokenizer(std::move(data));
}

}  // namespace attar::fuzz
