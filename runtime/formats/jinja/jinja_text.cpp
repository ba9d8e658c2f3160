#include "runtime/formats/jinja/jinja_text.h"

#include <utf8proc.h>

#include <cstring>

#include "runtime/formats/tokenizer/unicode.h"

namespace attar::jinja {
namespace {

// What Python's str.isspace() says of one character.
bool is_blank(std::string_view character) {
  if (valid_utf8_prefix(character) != character.size()) return false;
  const uint32_t code = decode_utf8(character, 0).code_point;
  const CharClass kind = char_class(code);
  return kind == CharClass::Space || kind == CharClass::Newline || (code >= 0x1c && code <= 0x1f);
}

}  // namespace

size_t character_length(std::string_view text, size_t at) {
  const auto first = static_cast<unsigned char>(text[at]);
  const size_t length = first < 0xC0 ? 1 : first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;
  return valid_utf8_prefix(text.substr(at, length)) == length ? length : 1;
}

std::string stripped(std::string_view text, const std::string* set, Ends ends, const Site& site) {
  const bool left = ends != Ends::Right, right = ends != Ends::Left;
  const auto goes = [&](std::string_view character) {
    if (set == nullptr) return is_blank(character);
    site.charge(set->size() / 16);
    for (size_t at = 0; at < set->size(); at += character_length(*set, at))
      if (std::string_view(*set).substr(at, character_length(*set, at)) == character) return true;
    return false;
  };
  while (left && !text.empty() && goes(text.substr(0, character_length(text, 0))))
    text.remove_prefix(character_length(text, 0));
  while (right && !text.empty()) {
    size_t start = text.size() - 1;
    while (start > 0 && text.size() - start < 4 && (static_cast<unsigned char>(text[start]) & 0xC0) == 0x80) --start;
    if (character_length(text, start) != text.size() - start) start = text.size() - 1;
    if (!goes(text.substr(start))) break;
    text = text.substr(0, start);
  }
  return std::string(text);
}

std::string mapped(std::string_view text, CaseMap change) {
  std::string out;
  for (size_t at = 0, length = 0; at < text.size(); at += length) {
    length = character_length(text, at);
    const std::string_view character = text.substr(at, length);
    if (valid_utf8_prefix(character) != length)
      out += character;
    else if (change == utf8proc_toupper && character == "\u00DF")
      out += "SS";  // the one common letter whose capital is two
    else
      append_utf8(out, static_cast<uint32_t>(change(static_cast<utf8proc_int32_t>(decode_utf8(text, at).code_point))));
  }
  return out;
}

std::string capitalized(const std::string& text) {
  if (text.empty()) return text;
  const size_t first = character_length(text, 0);
  return mapped(text.substr(0, first), utf8proc_toupper) + mapped(text.substr(first), utf8proc_tolower);
}

std::string titled(const std::string& text, Words words) {
  std::string out;
  bool start = true;
  for (size_t at = 0, length = 0; at < text.size(); at += length) {
    length = character_length(text, at);
    const std::string character = text.substr(at, length);
    out += mapped(character, start ? utf8proc_toupper : utf8proc_tolower);
    start = words == Words::Letters
                ? valid_utf8_prefix(character) != length ||
                      char_class(decode_utf8(text, at).code_point) != CharClass::Letter
                : is_blank(character) || std::string_view("-({[<").find(character) != std::string_view::npos;
  }
  return out;
}

size_t find_text(std::string_view text, std::string_view part, size_t from) {
  const void* found =
      part.empty() ? text.data() + from : ::memmem(text.data() + from, text.size() - from, part.data(), part.size());
  return found == nullptr ? std::string::npos : static_cast<size_t>(static_cast<const char*>(found) - text.data());
}

std::string replaced(const std::string& text, const std::string& from, const std::string& to, int64_t most) {
  std::string out;
  size_t at = 0;
  for (; most != 0 && at <= text.size(); --most) {  // below 0: all
    const size_t found = find_text(text, from, at);
    if (found == std::string::npos) break;
    append(out, std::string_view(text).substr(at, found - at));
    append(out, to);
    at = found + from.size();
    if (!from.empty()) continue;
    const size_t length = at < text.size() ? character_length(text, at) : 1;  // between all characters, as Python does
    append(out, std::string_view(text).substr(at, length));
    at += length;
  }
  if (at < text.size()) append(out, std::string_view(text).substr(at));
  return out;
}

namespace {

void add(List& out, std::string_view text, int line) {
  if (out.size() >= kMostItems) throw at_line(line, "a list grows too long");
  out.emplace_back(std::string(text));
}

}  // namespace

List split(std::string_view text, int64_t most, int line) {
  List out;
  const auto skip = [&](bool blank) {
    size_t at = 0;
    while (at < text.size() && is_blank(text.substr(at, character_length(text, at))) == blank)
      at += character_length(text, at);
    return at;
  };
  for (text.remove_prefix(skip(true)); !text.empty(); text.remove_prefix(skip(true))) {
    const size_t end = most-- == 0 ? text.size() : skip(false);
    add(out, text.substr(0, end), line);
    text.remove_prefix(end);
  }
  return out;
}

List split(std::string_view text, std::string_view by, int64_t most, int line) {
  if (by.empty()) throw at_line(line, "cannot split at an empty text");
  List out;
  size_t at = 0;
  for (size_t found; most != 0 && (found = find_text(text, by, at)) != std::string::npos; at = found + by.size()) {
    add(out, text.substr(at, found - at), line);
    --most;
  }
  add(out, text.substr(at), line);
  return out;
}

}  // namespace attar::jinja
