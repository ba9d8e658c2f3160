#include "tests/runtime/text/grammar/grammar_reference.h"

#include <algorithm>

#include "runtime/formats/tokenizer/unicode.h"

namespace attar::runtime {
namespace {

std::string utf8(uint32_t c) {
  std::string out;
  append_utf8(out, c);
  return out;
}

}  // namespace

std::set<size_t> GrammarReference::ends_of(Piece piece, size_t at) {
  const Expression& e = rules_.pieces[piece];
  const auto key = std::make_pair(piece, at);
  if (const auto found = known_.find(key); found != known_.end()) return found->second;
  std::set<size_t> ends;
  switch (e.kind) {
    case Expression::Kind::Text: {
      const std::string_view rest = text_.substr(at);
      if (rest.starts_with(e.text))
        ends.insert(at + e.text.size());
      else if (std::string_view(e.text).starts_with(rest))
        wants_more_ = true;
      break;
    }
    case Expression::Kind::Class:
      ends = ends_of_class(e, at);
      break;
    case Expression::Kind::Sequence:
      ends = {at};
      for (const Piece part : e.parts) {
        std::set<size_t> next;
        for (const size_t begin : ends) next.merge(ends_of(part, begin));
        ends = next;
      }
      break;
    case Expression::Kind::Choice:
      for (const Piece part : e.parts) ends.merge(ends_of(part, at));
      break;
    case Expression::Kind::Repeat:
      ends = ends_of_repeat(e, at);
      break;
    case Expression::Kind::Rule:
      ends = ends_of(rules_.rules[e.rule].body, at);
      break;
  }
  return known_[key] = ends;
}

// The characters whose bytes begin as the text does here, from the least to the most.
std::set<size_t> GrammarReference::ends_of_class(const Expression& e, size_t at) {
  const std::string_view rest = text_.substr(at);
  if (rest.empty()) {
    wants_more_ = true;
    return {};
  }
  const auto lead = static_cast<uint8_t>(rest[0]);
  const size_t length = lead < 0x80 ? 1 : lead < 0xC2 ? 0 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : lead < 0xF5 ? 4 : 0;
  if (length == 0) return {};
  uint32_t least = length == 1 ? lead : lead & (0x7Fu >> length), most = least;
  for (size_t i = 1; i < length; ++i) {
    const bool there = i < rest.size();
    const auto next = there ? static_cast<uint8_t>(rest[i]) : uint8_t{0x80};
    if ((next & 0xC0) != 0x80) return {};
    least = least << 6 | (next & 0x3F);
    most = most << 6 | (there ? next & 0x3F : 0x3F);
  }
  for (uint32_t c = least; c <= most && c <= kMostCodePoint; ++c) {
    const bool inside = std::any_of(e.ranges.begin(), e.ranges.end(),
                                    [&](const CodeRange& range) { return range.first <= c && c <= range.last; });
    if (!inside || (c >= 0xD800 && c <= 0xDFFF) || utf8(c).size() != length) continue;
    if (length <= rest.size()) return {at + length};
    wants_more_ = true;
    break;
  }
  return {};
}

std::set<size_t> GrammarReference::ends_of_repeat(const Expression& e, size_t at) {
  std::set<size_t> now{at}, ends;
  std::set<std::pair<uint32_t, std::set<size_t>>> seen;  // a part that reads nothing comes back to itself
  for (uint32_t n = 0;; ++n) {
    if (n >= e.least) ends.insert(now.begin(), now.end());
    if (n == e.most || now.empty()) return ends;
    std::set<size_t> next;
    for (const size_t begin : now) next.merge(ends_of(e.parts[0], begin));
    if (n > e.least && n > text_.size() + 1 &&
        (next == now || std::includes(ends.begin(), ends.end(), next.begin(), next.end())))
      return ends;
    now = next;
  }
}

}  // namespace attar::runtime
