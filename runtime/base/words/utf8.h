// UTF-8: what is valid, and text made safe to show.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace attar {

struct Decoded {
  uint32_t code_point;
  uint32_t length;  // bytes
};
// The character at `at` of valid UTF-8.
Decoded decode_utf8(std::string_view text, size_t at);

// Bytes of the character at `at`; 0 where no valid one begins.
size_t utf8_length(std::string_view text, size_t at);

// The index of the first byte that is not valid UTF-8, or text.size().
size_t valid_utf8_prefix(std::string_view text);

// Text of a file for a terminal: control characters, those that turn the writing's direction, and bytes that are not
// UTF-8 become \xNN. The second form ends with "..." behind the character that reaches `limit` bytes.
std::string visible(std::string_view text);
std::string visible(std::string_view text, size_t limit);

}  // namespace attar
