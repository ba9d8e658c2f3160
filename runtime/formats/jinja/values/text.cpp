#include "runtime/formats/jinja/values/text.h"

#include <algorithm>
#include <cstring>

#include "runtime/formats/tokenizer/unicode.h"

namespace attar::jinja {
namespace {

// Start of the last character.
size_t last_start(std::string_view text) {
  size_t start = text.size() - 1;
  while (start > 0 && text.size() - start < 4 && (static_cast<unsigned char>(text[start]) & 0xC0) == 0x80) --start;
  return character_length(text, start) == text.size() - start ? start : text.size() - 1;
}

void add(std::vector<TextView>& out, TextView part) {
  if (out.size() >= kMostItems) throw input_error("chat template", "a list grows too long", "at most 200000 items");
  out.push_back(part);
}

// Bytes of blanks (or of none) at one end.
size_t run_of(std::string_view text, From from, bool blank) {
  size_t at = from == From::Left ? 0 : text.size();
  while (from == From::Left ? at < text.size() : at > 0) {
    const size_t start = from == From::Left ? at : last_start(text.substr(0, at));
    const size_t length = from == From::Left ? character_length(text, at) : at - start;
    if (is_blank(text.substr(start, length)) != blank) break;
    at = from == From::Left ? at + length : start;
  }
  return from == From::Left ? at : text.size() - at;
}

}  // namespace

size_t character_length(std::string_view text, size_t at) {
  const auto first = static_cast<unsigned char>(text[at]);
  if (first < 0xC0) return 1;
  const size_t length = first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;
  return valid_utf8_prefix(text.substr(at, length)) == length ? length : 1;
}

int64_t count_characters(std::string_view text) {
  return std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; });
}

size_t byte_of(std::string_view text, int64_t n) {
  if (n < 0) n = std::max<int64_t>(n + count_characters(text), 0);
  size_t at = 0;
  for (; n > 0 && at < text.size(); --n) at += character_length(text, at);
  return at;
}

bool is_blank(std::string_view character) {
  if (valid_utf8_prefix(character) != character.size()) return false;
  const uint32_t code = decode_utf8(character, 0).code_point;
  const CharClass kind = char_class(code);
  return kind == CharClass::Space || kind == CharClass::Newline || (code >= 0x1c && code <= 0x1f);
}

std::vector<TextView> characters(TextView text, const Site& site) {
  site.charge(text.size() / 4);
  std::vector<TextView> out;
  for (size_t at = 0, length = 0; at < text.size(); at += length) {
    length = character_length(text.bytes, at);
    add(out, text.substr(at, length));
  }
  return out;
}

Text with_each_character(TextView text, const CharacterChange& change, ByteChange plain) {
  Text out;
  std::string to;
  for (size_t at = 0, length = 0; at < text.size(); at += length) {
    to.clear();
    int byte = 0;
    for (length = 0; plain != nullptr && at + length < text.size(); ++length) {
      if ((byte = plain(static_cast<unsigned char>(text.bytes[at + length]))) < 0) break;
      to += static_cast<char>(byte);
    }
    if (length > 0) {
      out.append(TextView(to, text.substr(at, length).marks));
      continue;
    }
    length = character_length(text.bytes, at);
    change(text.bytes.substr(at, length), to);
    out.append(to, text.substr(at, length).all_marks());
  }
  return out;
}

Text html_escaped(TextView text) {
  Text out = with_each_character(
      text,
      [](std::string_view character, std::string& to) {
        static constexpr const char* kStands[] = {"&amp;", "&lt;", "&gt;", "&#34;", "&#39;"};
        const size_t known = std::string_view("&<>\"'").find(character);
        to += known == std::string_view::npos ? character : kStands[known];
      },
      [](unsigned char c) { return c == '&' || c == '<' || c == '>' || c == '"' || c == '\'' ? -1 : c; });
  out.safe = true;
  return out;
}

std::string_view without_blanks(std::string_view text, Ends ends) {
  if (ends != Ends::Right) text.remove_prefix(run_of(text, From::Left, true));
  if (ends != Ends::Left) text.remove_suffix(run_of(text, From::Right, true));
  return text;
}

TextView stripped(TextView text, const Text* set, Ends ends, const Site& site) {
  if (set == nullptr) {
    const std::string_view kept = without_blanks(text.bytes, ends);
    return text.substr(static_cast<size_t>(kept.data() - text.bytes.data()), kept.size());
  }
  std::vector<TextView> known = characters(*set, site);
  std::sort(known.begin(), known.end(), [](TextView a, TextView b) { return a.bytes < b.bytes; });
  const auto goes = [&](std::string_view character) {
    const auto at = std::lower_bound(known.begin(), known.end(), character,
                                     [](TextView a, std::string_view b) { return a.bytes < b; });
    return at != known.end() && at->bytes == character;
  };
  size_t begin = 0, end = text.size();
  while (ends != Ends::Right && begin < end) {
    const size_t length = character_length(text.bytes, begin);
    if (!goes(text.bytes.substr(begin, length))) break;
    begin += length;
  }
  while (ends != Ends::Left && begin < end) {
    const size_t start = begin + last_start(text.bytes.substr(begin, end - begin));
    if (!goes(text.bytes.substr(start, end - start))) break;
    end = start;
  }
  return text.substr(begin, end - begin);
}

size_t find_text(std::string_view text, std::string_view part, size_t from) {
  const void* found =
      part.empty() ? text.data() + from : ::memmem(text.data() + from, text.size() - from, part.data(), part.size());
  return found == nullptr ? std::string::npos : static_cast<size_t>(static_cast<const char*>(found) - text.data());
}

size_t find_last(std::string_view text, std::string_view part) {
  if (part.empty()) return text.size();
  const std::string back(text.rbegin(), text.rend()), wanted(part.rbegin(), part.rend());
  const size_t found = find_text(back, wanted);
  return found == std::string::npos ? found : text.size() - found - part.size();
}

int64_t count_text(std::string_view text, std::string_view part) {
  if (part.empty()) return count_characters(text) + 1;
  int64_t n = 0;
  for (size_t at = 0; (at = find_text(text, part, at)) != std::string::npos; at += part.size()) ++n;
  return n;
}

Text replaced(TextView text, std::string_view from, TextView to, int64_t most) {
  Text out;
  size_t at = 0;
  for (; most != 0 && at <= text.size(); --most) {  // below 0: all
    const size_t found = find_text(text.bytes, from, at);
    if (found == std::string::npos) break;
    out.append(text.substr(at, found - at)).append(to);
    at = found + from.size();
    if (!from.empty()) continue;
    if (at == text.size()) return out;
    const size_t length = character_length(text.bytes, at);  // between all characters, as Python does
    out.append(text.substr(at, length));
    at += length;
  }
  return out.append(text.substr(std::min(at, text.size())));
}

std::vector<TextView> split_at_blanks(TextView text, int64_t most, From from) {
  std::vector<TextView> out;
  const auto drop = [&](size_t n) { text = from == From::Left ? text.substr(n) : text.substr(0, text.size() - n); };
  for (drop(run_of(text.bytes, from, true)); !text.empty(); drop(run_of(text.bytes, from, true))) {
    const size_t length = most-- == 0 ? text.size() : run_of(text.bytes, from, false);
    add(out, from == From::Left ? text.substr(0, length) : text.substr(text.size() - length));
    drop(length);
  }
  if (from == From::Right) std::reverse(out.begin(), out.end());
  return out;
}

std::vector<TextView> split(TextView text, std::string_view by, int64_t most, From from, int line) {
  if (by.empty()) throw at_line(line, "cannot split at an empty text");
  std::vector<TextView> out;
  if (from == From::Right && most >= 0) {  // seen from behind
    const std::string back(text.bytes.rbegin(), text.bytes.rend()), wanted(by.rbegin(), by.rend());
    size_t end = text.size();
    for (size_t at = 0, found; most > 0 && (found = find_text(back, wanted, at)) != std::string::npos; --most) {
      add(out, text.substr(text.size() - found, end - (text.size() - found)));
      at = found + by.size();
      end = text.size() - at;
    }
    add(out, text.substr(0, end));
    std::reverse(out.begin(), out.end());
    return out;
  }
  size_t at = 0;
  for (size_t found; most != 0 && (found = find_text(text.bytes, by, at)) != std::string::npos; --most) {
    add(out, text.substr(at, found - at));
    at = found + by.size();
  }
  add(out, text.substr(at));
  return out;
}

std::vector<TextView> split_lines(TextView text, LineEnds ends) {
  std::vector<TextView> out;
  const auto breaks = [&](size_t at) -> size_t {  // bytes of the line break there
    static constexpr std::string_view kOthers[] = {"\r\n", "\n",   "\r",     "\v",     "\f",    "\x1c",
                                                   "\x1d", "\x1e", "\u0085", "\u2028", "\u2029"};
    const auto first = static_cast<unsigned char>(text.bytes[at]);
    if (first >= ' ' && first != 0xC2 && first != 0xE2) return 0;
    for (const std::string_view one : kOthers)
      if (text.bytes.substr(at, one.size()) == one) return one.size();
    return 0;
  };
  size_t begin = 0;
  for (size_t at = 0; at < text.size();) {
    const size_t length = breaks(at);
    if (length == 0) {
      ++at;
      continue;
    }
    add(out, text.substr(begin, at - begin + (ends == LineEnds::Kept ? length : 0)));
    begin = at += length;
  }
  if (begin < text.size()) add(out, text.substr(begin));
  return out;
}

Text repeated(TextView text, Whole times) {
  Text out;
  if (!text.empty())
    for (Whole i = 0; i < times; ++i) out.append(text);
  return out;
}

}  // namespace attar::jinja
