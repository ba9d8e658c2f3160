// The few character classes that split expressions use, and what text of characters needs beside base/utf8.h.
// Categories: Unicode 15 (utf8proc).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "runtime/base/words/utf8.h"

namespace attar {

enum class CharClass : uint8_t {
  Letter,
  Number,
  Space,
  Newline,
  Other
};  // \p{L}, \p{N}, \s without and with \r \n, the rest

CharClass char_class(uint32_t code_point);
bool is_punctuation(uint32_t code_point);  // \p{P}
bool is_symbol(uint32_t code_point);       // \p{S}
bool is_word(uint32_t code_point);         // \w of the regex crate: letters, marks, digits, connectors and joiners

// Lu Lt; Ll; Lm Lo M; the rest: which halves of a word of one capital part and one small part may hold a character.
enum class LetterCase : uint8_t { Upper, Lower, Either, None };
LetterCase letter_case(uint32_t code_point);

uint32_t small_letter(uint32_t code_point);  // of a capital that has one, else the character itself

void append_utf8(std::string& out, uint32_t code_point);

// Canonical composition; text that is composed already is returned as it is.
std::string to_nfc(std::string_view text);
// Whether composition may join the character to those before it: marks, and the vowels and finals of Hangul.
bool composes_with_before(uint32_t code_point);

// Length of the longest prefix that ends between characters: what may be shown while bytes still arrive.
size_t complete_utf8_prefix(std::string_view bytes);
// Bytes that are not UTF-8 become U+FFFD.
std::string replace_invalid_utf8(std::string_view bytes);

}  // namespace attar
