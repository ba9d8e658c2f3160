#include "runtime/text/grammar/rules.h"

#include <algorithm>

#include "runtime/base/error.h"
#include "runtime/base/words/utf8.h"

namespace attar::runtime {
namespace {

constexpr uint32_t kFirstSurrogate = 0xD800, kLastSurrogate = 0xDFFF;
constexpr size_t kShownName = 160;  // bytes: a schema's rules are called by their pointers, which may be as long as it

}  // namespace

std::vector<CodeRange> joined(std::vector<CodeRange> ranges) {
  std::sort(ranges.begin(), ranges.end(), [](const CodeRange& a, const CodeRange& b) { return a.first < b.first; });
  std::vector<CodeRange> out;
  for (const CodeRange& range : ranges) {
    if (!out.empty() && range.first <= out.back().last + 1)
      out.back().last = std::max(out.back().last, range.last);
    else
      out.push_back(range);
  }
  return out;
}

std::vector<CodeRange> others(const std::vector<CodeRange>& joined_ranges) {
  std::vector<CodeRange> gone = joined_ranges, out;
  gone.push_back({kFirstSurrogate, kLastSurrogate});
  uint32_t next = 0;
  for (const CodeRange& range : joined(std::move(gone))) {
    if (range.first > next) out.push_back({next, range.first - 1});
    next = range.last + 1;
  }
  if (next <= kMostCodePoint) out.push_back({next, kMostCodePoint});
  return out;
}

std::vector<CodeRange> both(const std::vector<CodeRange>& a, const std::vector<CodeRange>& b) {
  std::vector<CodeRange> out;
  for (size_t i = 0, j = 0; i < a.size() && j < b.size();) {
    const uint32_t first = std::max(a[i].first, b[j].first), last = std::min(a[i].last, b[j].last);
    if (first <= last) out.push_back({first, last});
    (a[i].last < b[j].last ? i : j) += 1;
  }
  return out;
}

uint32_t Rules::add(std::string_view name, Piece body) {
  rules.push_back({visible(name, kShownName), body});
  return static_cast<uint32_t>(rules.size() - 1);
}

uint32_t Rules::named(std::string_view name) const {
  uint32_t rule = 0;
  while (rule < rules.size() && rules[rule].name != name) ++rule;
  return rule;
}

Piece Rules::add(Expression piece) {
  if (pieces.size() >= kMostPieces)
    throw usage_error(where, "is too large a grammar", "at most " + std::to_string(kMostPieces) + " parts", "",
                      "rules in place of what is repeated; in a schema fewer $ref into what is around them");
  pieces.push_back(std::move(piece));
  return static_cast<Piece>(pieces.size() - 1);
}

Piece Rules::text(std::string_view bytes) {
  if (bytes.empty()) return 0;
  Expression piece;
  piece.text = bytes;
  return add(std::move(piece));
}

Piece Rules::one_of(std::vector<CodeRange> set) {
  Expression piece;
  piece.kind = Expression::Kind::Class;
  piece.ranges = joined(std::move(set));
  return add(std::move(piece));
}

Piece Rules::sequence(std::vector<Piece> parts) {
  if (parts.size() == 1) return parts[0];
  Expression piece;
  piece.kind = Expression::Kind::Sequence;
  piece.parts = std::move(parts);
  return add(std::move(piece));
}

Piece Rules::choice(std::vector<Piece> parts) {
  if (parts.size() == 1) return parts[0];
  Expression piece;
  piece.kind = Expression::Kind::Choice;
  piece.parts = std::move(parts);
  return add(std::move(piece));
}

Piece Rules::repeat(Piece part, uint32_t least, uint32_t most) {
  Expression piece;
  piece.kind = Expression::Kind::Repeat;
  piece.parts.push_back(part);
  piece.least = least, piece.most = most;
  return add(std::move(piece));
}

Piece Rules::call(uint32_t rule) {
  Expression piece;
  piece.kind = Expression::Kind::Rule;
  piece.rule = rule;
  return add(std::move(piece));
}

}  // namespace attar::runtime
