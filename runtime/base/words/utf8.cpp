#include "runtime/base/words/utf8.h"

#include <cstdio>

namespace attar {
namespace {

bool is_control(uint32_t c) {
  return c < 0x20 || (c >= 0x7F && c < 0xA0) || (c >= 0x202A && c <= 0x202E) || (c >= 0x2066 && c <= 0x2069);
}

// Appends the character at `at`, or the byte where none begins. -> bytes of the text that were shown
size_t show(std::string_view text, size_t at, std::string& out) {
  const size_t length = utf8_length(text, at);
  if (length > 0 && !is_control(decode_utf8(text, at).code_point)) {
    out += text.substr(at, length);
    return length;
  }
  const size_t shown = length > 0 ? length : 1;
  for (const char byte : text.substr(at, shown)) {
    char hex[8];
    std::snprintf(hex, sizeof hex, "\\x%02x", static_cast<unsigned>(static_cast<unsigned char>(byte)));
    out += hex;
  }
  return shown;
}

}  // namespace

Decoded decode_utf8(std::string_view text, size_t at) {
  const auto byte = [&](size_t i) { return static_cast<uint32_t>(static_cast<unsigned char>(text[at + i])); };
  const uint32_t first = byte(0);
  if (first < 0x80) return {first, 1};
  if (first < 0xE0) return {((first & 0x1F) << 6) | (byte(1) & 0x3F), 2};
  if (first < 0xF0) return {((first & 0x0F) << 12) | ((byte(1) & 0x3F) << 6) | (byte(2) & 0x3F), 3};
  return {((first & 0x07) << 18) | ((byte(1) & 0x3F) << 12) | ((byte(2) & 0x3F) << 6) | (byte(3) & 0x3F), 4};
}

size_t utf8_length(std::string_view text, size_t at) {
  const auto* bytes = reinterpret_cast<const unsigned char*>(text.data()) + at;
  const unsigned char c = bytes[0];
  if (c < 0x80) return 1;
  const size_t length = c >= 0xC2 && c < 0xE0 ? 2 : c >= 0xE0 && c < 0xF0 ? 3 : c >= 0xF0 && c < 0xF5 ? 4 : 0;
  if (length == 0 || at + length > text.size()) return 0;
  for (size_t k = 1; k < length; ++k)
    if ((bytes[k] & 0xC0) != 0x80) return 0;
  const unsigned char second = bytes[1];  // overlong forms, surrogates, beyond U+10FFFF
  if ((c == 0xE0 && second < 0xA0) || (c == 0xED && second >= 0xA0) || (c == 0xF0 && second < 0x90) ||
      (c == 0xF4 && second >= 0x90))
    return 0;
  return length;
}

size_t valid_utf8_prefix(std::string_view text) {
  for (size_t at = 0; at < text.size();) {
    const size_t length = static_cast<unsigned char>(text[at]) < 0x80 ? 1 : utf8_length(text, at);
    if (length == 0) return at;
    at += length;
  }
  return text.size();
}

std::string visible(std::string_view text) {
  std::string out;
  for (size_t at = 0; at < text.size();) at += show(text, at, out);
  return out;
}

std::string visible(std::string_view text, size_t limit) {
  std::string out;
  for (size_t at = 0; at < text.size();) {
    if (out.size() >= limit) return out + "...";
    at += show(text, at, out);
  }
  return out;
}

}  // namespace attar
