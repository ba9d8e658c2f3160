#include "runtime/text/grammar/automaton.h"

#include <algorithm>
#include <span>
#include <string_view>
#include <unordered_map>

#include "runtime/base/error.h"
#include "runtime/text/grammar/automaton_checks.h"

namespace attar::runtime {
namespace {

using Kind = Automaton::Kind;
using Node = Automaton::Node;

// UTF-8 of a code point, of which there is a length.
struct Encoded {
  std::array<uint8_t, 4> bytes;
  size_t length;
};
Encoded encoded(uint32_t c) {
  const auto low = [&](int shift) { return static_cast<uint8_t>(0x80 | ((c >> shift) & 0x3F)); };
  if (c < 0x80) return {{static_cast<uint8_t>(c)}, 1};
  if (c < 0x800) return {{static_cast<uint8_t>(0xC0 | c >> 6), low(0)}, 2};
  if (c < 0x10000) return {{static_cast<uint8_t>(0xE0 | c >> 12), low(6), low(0)}, 3};
  return {{static_cast<uint8_t>(0xF0 | c >> 18), low(12), low(6), low(0)}, 4};
}

// Nodes are made from the end of a rule to its beginning: what an expression is built with is what follows it.
class Builder {
 public:
  explicit Builder(const Rules& rules) : rules_(rules) { out_.nodes.push_back({}); }

  Automaton built() {
    std::vector<uint32_t> starts;
    for (const Rules::Rule& rule : rules_.rules) {
      rule_ = &rule;
      starts.push_back(build(rule.body, Automaton::kEnd));
    }
    for (Node& node : out_.nodes)
      if (node.kind == Kind::Call && node.first == 0) node.to = starts[node.to];
    out_.start = starts[rules_.root];
    out_.where = rules_.where;
    check_rules(out_, rules_, starts);
    classify();
    return std::move(out_);
  }

 private:
  uint32_t add(const Node& node) {
    if (out_.nodes.size() >= kMostNodes)
      throw usage_error(rules_.where, "is too large a grammar at the rule `" + rule_->name + "`",
                        "at most " + std::to_string(kMostNodes) + " nodes", "",
                        "smaller counts, or rules in place of what is repeated");
    out_.nodes.push_back(node);
    return static_cast<uint32_t>(out_.nodes.size() - 1);
  }
  uint32_t byte(uint8_t first, uint8_t last, uint32_t next) {
    const uint64_t key = uint64_t{next} << 16 | uint64_t{first} << 8 | last;
    const auto [found, is_new] = bytes_.try_emplace(key, 0);
    if (is_new) found->second = add({Kind::Byte, first, last, next, 0});
    return found->second;
  }
  uint32_t split(uint32_t to, uint32_t other) { return add({Kind::Split, 0, 0, to, other}); }

  uint32_t build(Piece piece, uint32_t next) {
    const Expression& e = rules_.pieces[piece];
    switch (e.kind) {
      case Expression::Kind::Text:
        return spelled(e.text, next);
      case Expression::Kind::Class:
        return characters(e.ranges, next);
      case Expression::Kind::Sequence:
        for (size_t i = e.parts.size(); i-- > 0;) next = build(e.parts[i], next);
        return next;
      case Expression::Kind::Choice:
        return chosen(e, next);
      case Expression::Kind::Repeat:
        return repeated(e, next);
      case Expression::Kind::Rule:
        return add({Kind::Call, 0, 0, e.rule, next});
    }
    return next;
  }

  uint32_t either(const std::vector<uint32_t>& ways) {
    uint32_t way = ways.back();
    for (size_t i = ways.size() - 1; i-- > 0;) way = split(ways[i], way);
    return way;
  }

  // Texts of a list are a tree: as far as they begin alike they are one way, and so a list of thousands is followed in
  // the time of a short one.
  uint32_t chosen(const Expression& e, uint32_t next) {
    std::vector<uint32_t> ways;
    std::vector<std::string_view> texts;
    for (const Piece part : e.parts)
      if (const Expression& one = rules_.pieces[part]; one.kind == Expression::Kind::Text)
        texts.push_back(one.text);
      else
        ways.push_back(build(part, next));
    std::sort(texts.begin(), texts.end());
    if (!texts.empty()) ways.push_back(tree(texts, 0, next));
    return either(ways);
  }
  // Of texts in their order, which are the same up to `at`. Recursion goes as deep as one of them has others in it.
  uint32_t tree(std::span<const std::string_view> texts, size_t at, uint32_t next) {
    const std::string_view first = texts.front(), last = texts.back();
    const auto parting = std::mismatch(first.begin(), first.end(), last.begin(), last.end()).first;
    const auto same = static_cast<size_t>(parting - first.begin());
    std::vector<uint32_t> ways;
    size_t begin = 0;
    while (begin < texts.size() && texts[begin].size() == same) ++begin;  // those that end here
    if (begin > 0) ways.push_back(next);
    for (size_t end = begin; begin < texts.size(); begin = end) {
      while (end < texts.size() && texts[end][same] == texts[begin][same]) ++end;
      ways.push_back(tree(texts.subspan(begin, end - begin), same, next));
    }
    return spelled(first.substr(at, same - at), either(ways));
  }
  uint32_t spelled(std::string_view text, uint32_t next) {
    for (size_t i = text.size(); i-- > 0;) {
      const auto one = static_cast<uint8_t>(text[i]);
      next = byte(one, one, next);
    }
    return next;
  }

  // A part that is no single byte or call stands once, and each of its repetitions calls it.
  uint32_t repeated(const Expression& e, uint32_t next) {
    const Expression& part = rules_.pieces[e.parts[0]];
    const uint32_t copies = e.most == kNoLimit ? std::max<uint32_t>(e.least, 1) : e.most;
    const bool small = part.kind == Expression::Kind::Rule ||
                       (part.kind == Expression::Kind::Text && part.text.size() == 1) ||
                       (part.kind == Expression::Kind::Class && part.ranges.size() == 1 && part.ranges[0].last < 0x80);
    const bool called = copies > 1 && !small;
    const uint32_t body = called ? build(e.parts[0], Automaton::kEnd) : 0;
    const auto once = [&](uint32_t then) {
      return called ? add({Kind::Call, 1, 0, body, then}) : build(e.parts[0], then);  // first 1: `to` is a node already
    };
    uint32_t way = next, left = e.least;
    if (e.most == kNoLimit) {
      const uint32_t loop = split(next, next);
      const uint32_t first = once(loop);
      out_.nodes[loop].to = first;
      way = left > 0 ? first : loop;
      left -= left > 0 ? 1 : 0;
    } else {
      for (uint32_t i = e.least; i < e.most; ++i) way = split(once(way), next);
    }
    for (; left > 0; --left) way = once(way);
    return way;
  }

  uint32_t characters(const std::vector<CodeRange>& ranges, uint32_t next) {
    std::vector<uint32_t> ways;
    for (const CodeRange& range : ranges)
      for (uint32_t first = range.first; first <= range.last;) {
        const uint32_t most = first < 0x80      ? 0x7F
                              : first < 0x800   ? 0x7FF
                              : first < 0xD800  ? 0xD7FF
                              : first < 0x10000 ? 0xFFFF
                                                : kMostCodePoint;
        const uint32_t last = std::min(range.last, most);
        spans(encoded(first), encoded(last), 0, next, ways);
        first = last + 1;
      }
    return either(ways);
  }
  // Adds ways to read the characters from `a` to `b`, of one length, from their byte `at` on.
  void spans(Encoded a, Encoded b, size_t at, uint32_t next, std::vector<uint32_t>& ways) {
    const size_t last = a.length - 1;
    if (at == last) return ways.push_back(byte(a.bytes[at], b.bytes[at], next));
    const auto all_from = [&](const Encoded& c, uint8_t value) {
      return std::all_of(c.bytes.begin() + static_cast<std::ptrdiff_t>(at) + 1,
                         c.bytes.begin() + static_cast<std::ptrdiff_t>(c.length),
                         [&](uint8_t x) { return x == value; });
    };
    const auto lead = [&](uint8_t from, uint8_t to, const Encoded& low, const Encoded& high) {
      std::vector<uint32_t> rest;
      spans(low, high, at + 1, next, rest);
      for (const uint32_t way : rest) ways.push_back(byte(from, to, way));
    };
    Encoded least = a, most = b;
    for (size_t i = at + 1; i <= last; ++i) least.bytes[i] = 0x80, most.bytes[i] = 0xBF;
    int from = a.bytes[at], to = b.bytes[at];
    if (from == to) return lead(a.bytes[at], a.bytes[at], a, b);
    if (!all_from(a, 0x80)) lead(a.bytes[at], a.bytes[at], a, most), ++from;
    const bool cut = !all_from(b, 0xBF);
    if (cut) --to;
    if (from <= to) lead(static_cast<uint8_t>(from), static_cast<uint8_t>(to), least, most);
    if (cut) lead(b.bytes[at], b.bytes[at], least, b);
  }

  void classify() {
    std::array<bool, 257> begins{};
    begins[0] = true;
    for (const Node& node : out_.nodes)
      if (node.kind == Kind::Byte) begins[node.first] = begins[node.last + 1] = true;
    for (size_t i = 0; i < 256; ++i) {
      if (begins[i]) out_.classes.push_back(static_cast<uint8_t>(i));
      out_.class_of[i] = static_cast<uint8_t>(out_.classes.size() - 1);
    }
  }

  const Rules& rules_;
  const Rules::Rule* rule_ = nullptr;
  Automaton out_{};
  std::unordered_map<uint64_t, uint32_t> bytes_{};
};

}  // namespace

Automaton compile(const Rules& rules) {
  return Builder(rules).built();
}

}  // namespace attar::runtime
