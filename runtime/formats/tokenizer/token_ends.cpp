#include "runtime/formats/tokenizer/token_ends.h"

#include <algorithm>
#include <string>

#include "runtime/formats/tokenizer/models/spm.h"
#include "runtime/formats/tokenizer/unicode.h"

namespace attar {
namespace {

constexpr size_t kFurthest_bytes = 4096;  // that a token is looked for beyond bytes that no token stands for

// Where a token that begins at `at` ends; npos where the text goes on otherwise. SPM writes spaces as U+2581, and a
// text may hold that character itself.
size_t end_of(std::string_view text, size_t at, std::string_view token) {
  for (const char c : token) {
    if (at < text.size() && text[at] == c)
      ++at;
    else if (c == ' ' && text.substr(at).starts_with(kSpmSpace))
      at += kSpmSpace.size();
    else
      return std::string_view::npos;
  }
  return at;
}

}  // namespace

std::vector<size_t> token_ends(std::string_view text, const std::vector<TokenBytes>& tokens) {
  std::vector<size_t> ends;
  ends.reserve(tokens.size());
  size_t at = 0;
  bool after_unknown = false;
  for (const TokenBytes& token : tokens) {
    if (!token) {
      ends.push_back(at);  // until the next token is found
      after_unknown = true;
      continue;
    }
    size_t begin = at, end = after_unknown ? std::string_view::npos : end_of(text, at, *token);
    while (end == std::string_view::npos && ++begin < std::min(text.size(), at + kFurthest_bytes))
      end = end_of(text, begin, *token);
    if (end != std::string_view::npos) {
      if (after_unknown) ends.back() = begin;
      at = end;
    }
    after_unknown = false;
    ends.push_back(at);
  }
  if (!ends.empty()) ends.back() = text.size();
  return ends;
}

std::vector<size_t> ends_before_nfc(std::string_view text, std::string_view composed, const std::vector<size_t>& ends) {
  // Stretches that begin with what joins nothing before it compose each for itself, and to as many stretches.
  const auto next_stretch = [](std::string_view in, size_t at) {
    if (at < in.size()) at += decode_utf8(in, at).length;
    for (Decoded c{}; at < in.size(); at += c.length)
      if (c = decode_utf8(in, at); !composes_with_before(c.code_point)) break;
    return at;
  };
  std::vector<size_t> out;
  out.reserve(ends.size());
  size_t text_at = 0, text_end = next_stretch(text, 0), composed_at = 0, composed_end = next_stretch(composed, 0);
  for (const size_t end : ends) {
    while (end > composed_end) {
      text_at = text_end, text_end = next_stretch(text, text_end);
      composed_at = composed_end, composed_end = next_stretch(composed, composed_end);
    }
    const bool same =
        text.substr(text_at, text_end - text_at) == composed.substr(composed_at, composed_end - composed_at);
    out.push_back(same ? text_at + (end - composed_at) : text_end);
  }
  return out;
}

}  // namespace attar
