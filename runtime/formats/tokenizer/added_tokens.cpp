#include "runtime/formats/tokenizer/added_tokens.h"

#include <algorithm>

#include "runtime/formats/tokenizer/unicode.h"

namespace attar {
namespace {

// Where the character before `end` begins.
size_t before(std::string_view text, size_t end) {
  do --end;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80);
  return end;
}

bool is_white(std::string_view text, size_t at) {
  const CharClass c = char_class(decode_utf8(text, at).code_point);
  return c == CharClass::Space || c == CharClass::Newline;
}

bool stands_alone(std::string_view text, size_t begin, size_t end) {
  return (begin == 0 || !is_word(decode_utf8(text, before(text, begin)).code_point)) &&
         (end == text.size() || !is_word(decode_utf8(text, end).code_point));
}

}  // namespace

int32_t bits_of(const AddedRule& rule) {
  return rule.single_word | rule.strips_left << 1 | rule.strips_right << 2 | rule.normalized << 3 | rule.unmerged << 4;
}

AddedRule rule_of(int32_t bits) {
  return {(bits & 1) != 0, (bits & 2) != 0, (bits & 4) != 0, (bits & 8) != 0, (bits & 16) != 0};
}

bool ControlTokens::touches(const ByteSpan& span) const {
  const auto after =
      std::partition_point(words.begin(), words.end(), [&](const ByteSpan& word) { return word.end <= span.begin; });
  return after != words.end() && after->begin < span.end;
}

void AddedTokens::add(std::string_view text, int32_t id, const Token& token, bool is_control) {
  matcher_.add(text, static_cast<int32_t>(entries_.size()));
  entries_.push_back({id, is_control, token.rule});
}

std::vector<AddedMatch> AddedTokens::find_all(std::string_view text, const ControlTokens& control) const {
  std::vector<AddedMatch> found;
  if (entries_.empty()) return found;
  size_t taken = 0;  // by the matches so far
  for (size_t at = 0; at < text.size();) {
    const TokenMatcher::Match match = matcher_.find(text, at);
    if (match.id < 0) break;
    at = match.end;
    const Entry& entry = entries_[static_cast<size_t>(match.id)];
    if (entry.is_control &&
        (!control.are_meant || control.touches({control.begin + match.begin, control.begin + match.end})))
      continue;
    if (entry.rule.single_word && !stands_alone(text, match.begin, match.end)) continue;
    size_t begin = std::max(match.begin, taken), end = match.end;
    while (entry.rule.strips_left && begin > taken && is_white(text, before(text, begin))) begin = before(text, begin);
    while (entry.rule.strips_right && end < text.size() && is_white(text, end)) end += decode_utf8(text, end).length;
    if (entry.rule.strips_left && begin >= end) continue;  // the one before it took all of it, as white space
    found.push_back({entry.id, begin, std::max(end, begin)});
    taken = found.back().end;
  }
  return found;
}

}  // namespace attar
