#include "runtime/text/grammar/gbnf.h"

#include <algorithm>
#include <map>
#include <optional>

#include "runtime/base/error.h"
#include "runtime/base/words/suggestion.h"
#include "runtime/base/words/utf8.h"
#include "runtime/formats/tokenizer/unicode.h"

namespace attar::runtime {
namespace {

constexpr size_t kLongestCompared = 256;  // bytes of a name: how near two are takes the product of their lengths

bool is_name(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
}

class GbnfReader {
 public:
  GbnfReader(std::string_view text, const std::string& where) : text_(text), where_(where) {}

  Rules rules() {
    out_.where = where_;
    for (skip(Lines::Any); at_ < text_.size(); skip(Lines::Any)) read_rule();
    const auto undefined = std::find_if(names_.begin(), names_.end(), [](const auto& n) { return !n.second.defined; });
    if (undefined != names_.end()) refuse_undefined(undefined->first, undefined->second.at);
    const auto root = names_.find("root");
    if (root == names_.end())
      throw usage_error(where_, "has no rule called root", "root ::= ...", names_.empty() ? "no rules at all" : "",
                        "the text is what root stands for");
    out_.root = root->second.rule;
    return std::move(out_);
  }

 private:
  enum class Lines { One, Any };  // whether a line's end is white space

  struct Name {
    uint32_t rule;
    size_t at;  // where it was first used
    bool defined;
  };

  [[noreturn]] void fail(size_t at, std::string_view what, std::string_view expected = {}) const {
    const auto line = 1 + std::count(text_.begin(), text_.begin() + static_cast<std::ptrdiff_t>(at), '\n');
    const size_t start = at == 0 ? 0 : text_.rfind('\n', at - 1) + 1;  // npos + 1 is 0
    size_t column = 1;
    for (size_t i = start; i < at; ++i) column += (static_cast<uint8_t>(text_[i]) & 0xC0) != 0x80;
    std::string got;
    if (!expected.empty()) {
      const size_t end = std::min(text_.find('\n', at), at + 12);
      got = at >= text_.size()  ? "the end"
            : text_[at] == '\n' ? "the end of the line"
                                : printable(std::string(text_.substr(at, end - at)));
    }
    throw usage_error(where_ + ":" + std::to_string(line) + ":" + std::to_string(column), std::string(what),
                      std::string(expected), got);
  }
  static std::string called(const std::string& name) { return "the rule `" + printable(name) + "`"; }
  [[noreturn]] void refuse_undefined(const std::string& name, size_t at) const {
    std::vector<std::string> defined;
    for (const auto& [known, entry] : names_)
      if (entry.defined) defined.push_back(known);
    const std::string near = name.size() <= kLongestCompared ? nearest(name, defined) : "";
    fail(at, called(name) + " is not defined" + (near.empty() ? "" : "; did you mean `" + printable(near) + "`?"));
  }

  char peek(size_t ahead = 0) const { return at_ + ahead < text_.size() ? text_[at_ + ahead] : '\0'; }

  void skip(Lines lines) {
    while (at_ < text_.size()) {
      const char c = text_[at_];
      if (c == '#')
        at_ = std::min(text_.find('\n', at_), text_.size());
      else if (c == ' ' || c == '\t' || (lines == Lines::Any && (c == '\n' || c == '\r')))
        ++at_;
      else
        return;
    }
  }

  std::string name() {
    const size_t start = at_;
    while (is_name(peek())) ++at_;
    if (at_ == start) fail(at_, "no rule begins here", "a rule's name: letters, digits, - and _");
    return std::string(text_.substr(start, at_ - start));
  }
  uint32_t rule_of(const std::string& name, size_t at) {
    const auto [found, is_new] = names_.try_emplace(name, Name{0, at, false});
    if (is_new) found->second.rule = out_.add(name);
    return found->second.rule;
  }

  void read_rule() {
    const size_t start = at_;
    const std::string of = name();
    const uint32_t rule = rule_of(of, start);
    skip(Lines::One);
    if (text_.substr(at_, 3) != "::=") fail(at_, called(of) + " has no ::=", "::=");
    at_ += 3;
    skip(Lines::Any);
    if (names_.at(of).defined) fail(start, called(of) + " is defined twice");
    names_.at(of).defined = true;
    out_.rules[rule].body = alternatives(Lines::One);
    if (peek() == '\r') ++at_;
    if (at_ < text_.size() && peek() != '\n' && !begins_rule())
      fail(at_, called(of) + " does not end here", "|, a part of the rule or a new line");
  }
  // Whether NAME ::= begins a line here.
  bool begins_rule() const {
    size_t i = at_;
    while (i > 0 && (text_[i - 1] == ' ' || text_[i - 1] == '\t')) --i;
    if (i > 0 && text_[i - 1] != '\n') return false;
    i = at_;
    while (i < text_.size() && is_name(text_[i])) ++i;
    if (i == at_) return false;
    while (i < text_.size() && (text_[i] == ' ' || text_[i] == '\t')) ++i;
    return text_.substr(i, 3) == "::=";
  }

  Piece alternatives(Lines lines) {
    std::vector<Piece> all;
    while (true) {
      all.push_back(parts(lines));
      if (lines == Lines::One) skip_to_bar();
      if (peek() != '|') return out_.choice(std::move(all));
      ++at_;
      skip(Lines::Any);
    }
  }
  // A rule goes on in the next line where that begins with |.
  void skip_to_bar() {
    const size_t before = at_;
    skip(Lines::Any);
    if (peek() != '|') at_ = before;
  }

  Piece parts(Lines lines) {
    std::vector<Piece> all;
    while (true) {
      skip(lines);
      std::optional<Piece> next = part();
      if (!next) break;
      while (repeated(*next)) {
      }
      all.push_back(*next);
    }
    return all.empty() ? 0 : out_.sequence(std::move(all));
  }

  std::optional<Piece> part() {
    const size_t start = at_;
    switch (peek()) {
      case '"':
        ++at_;
        return literal(start);
      case '[':
        ++at_;
        return characters(start);
      case '.':
        ++at_;
        return out_.one_of(others({}));
      case '(':
        return group();
      case '<':
        fail(start, "tokens in angle brackets are not read", "a literal, such as \"<think>\"");
      default:
        if (!is_name(peek()) || (depth_ == 0 && begins_rule())) return std::nullopt;
        return out_.call(rule_of(name(), start));
    }
  }
  Piece group() {
    const size_t start = at_++;
    if (++depth_ > kMostBrackets)
      fail(start, "brackets are nested too deeply", "at most " + std::to_string(kMostBrackets));
    const Piece inside = alternatives(Lines::Any);
    --depth_;
    if (peek() != ')') fail(at_, "a bracket is not closed", ")");
    ++at_;
    return inside;
  }

  // Behind a part: * + ? {m} {m,} {m,n}.
  bool repeated(Piece& part) {
    uint32_t least = 0, most = kNoLimit;
    switch (peek()) {
      case '*':
        break;
      case '+':
        least = 1;
        break;
      case '?':
        most = 1;
        break;
      case '{':
        return counted(part);
      default:
        return false;
    }
    ++at_;
    wrap(part, least, most);
    return true;
  }
  bool counted(Piece& part) {
    const size_t start = at_++;
    skip(Lines::One);
    const uint32_t least = number();
    uint32_t most = least;
    skip(Lines::One);
    if (peek() == ',') {
      ++at_;
      skip(Lines::One);
      most = peek() == '}' ? kNoLimit : number();
      skip(Lines::One);
    }
    if (peek() != '}') fail(at_, "a count is not closed", "}");
    ++at_;
    if (most < least) fail(start, "the count is the wrong way round", "{least,most}");
    wrap(part, least, most);
    return true;
  }
  void wrap(Piece& part, uint32_t least, uint32_t most) {
    if (++wraps_ > 4) fail(at_, "too many counts one behind the other", "brackets");
    part = out_.repeat(part, least, most);
    if (peek() != '*' && peek() != '+' && peek() != '?' && peek() != '{') wraps_ = 0;
  }
  uint32_t number() {
    const size_t start = at_;
    uint32_t value = 0;
    while (peek() >= '0' && peek() <= '9') {
      value = value * 10 + static_cast<uint32_t>(text_[at_++] - '0');
      if (value > kMostRepeats) fail(start, "the count is too large", "at most " + std::to_string(kMostRepeats));
    }
    if (at_ == start) fail(start, "a count is no number", "{m}, {m,} or {m,n}");
    return value;
  }

  Piece literal(size_t start) {
    std::string bytes;
    while (peek() != '"') {
      if (at_ >= text_.size() || peek() == '\n') fail(start, "a literal is not closed", "\" at its end");
      append_utf8(bytes, character());
    }
    ++at_;
    return out_.text(bytes);
  }
  Piece characters(size_t start) {
    const bool negated = peek() == '^';
    if (negated) ++at_;
    std::vector<CodeRange> ranges;
    while (peek() != ']') {
      if (at_ >= text_.size() || peek() == '\n') fail(start, "a character class is not closed", "] at its end");
      const size_t from = at_;
      const uint32_t first = character();
      uint32_t last = first;
      if (peek() == '-' && peek(1) != ']') {
        ++at_;
        if (at_ >= text_.size()) fail(start, "a character class is not closed", "] at its end");
        last = character();
      }
      if (last < first) fail(from, "the range is the wrong way round", "the lower character first");
      ranges.push_back({first, last});
    }
    ++at_;
    ranges = joined(std::move(ranges));
    ranges = negated ? others(ranges) : both(ranges, others({}));
    if (ranges.empty()) fail(start, "no character is in this class", "at least one");
    return out_.one_of(std::move(ranges));
  }

  uint32_t character() {
    if (peek() == '\\') return escaped();
    const Decoded c = decode_utf8(text_, at_);
    at_ += c.length;
    return c.code_point;
  }
  uint32_t escaped() {
    const size_t start = at_++;
    const char c = peek();
    ++at_;
    switch (c) {
      case 'n':
        return '\n';
      case 'r':
        return '\r';
      case 't':
        return '\t';
      case '"':
      case '\\':
      case '[':
      case ']':
      case '-':
      case '^':
      case '/':
        return static_cast<uint8_t>(c);
      case 'x':
        return hexadecimal(start, 2);
      case 'u':
        return hexadecimal(start, 4);
      case 'U':
        return hexadecimal(start, 8);
      default:
        fail(start, "the escape is unknown", "\\n \\r \\t \\\" \\\\ \\[ \\] \\- \\^ \\xHH \\uHHHH or \\UHHHHHHHH");
    }
  }
  uint32_t hexadecimal(size_t start, int digits) {
    uint32_t value = 0;
    for (int i = 0; i < digits; ++i, ++at_) {
      const char c = peek();
      const int digit = c >= '0' && c <= '9'   ? c - '0'
                        : c >= 'a' && c <= 'f' ? c - 'a' + 10
                        : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                               : -1;
      if (digit < 0) fail(start, "the escape is cut short", std::to_string(digits) + " hexadecimal digits");
      value = value << 4 | static_cast<uint32_t>(digit);
    }
    if (value > kMostCodePoint || (value >= 0xD800 && value <= 0xDFFF)) fail(start, "the escape is no character");
    return value;
  }

  const std::string_view text_;
  const std::string& where_;
  size_t at_ = 0;
  int depth_ = 0, wraps_ = 0;
  std::map<std::string, Name> names_{};
  Rules out_{};
};

}  // namespace

Rules parse_gbnf(std::string_view text, const std::string& where) {
  if (text.size() > kMostGrammarBytes)
    throw usage_error(where, "is too long for a grammar", "at most " + std::to_string(kMostGrammarBytes) + " bytes",
                      std::to_string(text.size()));
  const size_t broken = valid_utf8_prefix(text);
  if (broken < text.size()) throw usage_error(where, "is not UTF-8 at byte " + std::to_string(broken + 1));
  return GbnfReader(text, where).rules();
}

}  // namespace attar::runtime
