#include "runtime/text/grammar/schema/pattern.h"

#include <algorithm>
#include <optional>

#include "runtime/base/error.h"
#include "runtime/base/words/utf8.h"

namespace attar::runtime {
namespace {

constexpr int kMostGroups = 50;  // inside each other

const std::vector<CodeRange> kDigits{{'0', '9'}}, kWord{{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}},
    kSpace{{9, 13},          {' ', ' '},       {0xA0, 0xA0},     {0x1680, 0x1680}, {0x2000, 0x200A},
           {0x2028, 0x2029}, {0x202F, 0x202F}, {0x205F, 0x205F}, {0x3000, 0x3000}, {0xFEFF, 0xFEFF}},
    kLineEnds{{'\n', '\n'}, {'\r', '\r'}, {0x2028, 0x2029}};

class PatternReader {
 public:
  PatternReader(JsonText& json, std::string_view pattern, const std::string& where)
      : json_(json), rules_(json.rules), text_(pattern), where_(where) {}

  Piece all() {
    const Piece found = alternatives();
    if (at_ < text_.size()) fail("a bracket is closed that was not opened");
    return rules_.sequence({rules_.text("\""), found, rules_.text("\"")});
  }

 private:
  [[noreturn]] void fail(std::string_view what) const {
    throw usage_error(where_, "character " + std::to_string(at_ + 1) + " of the pattern: " + std::string(what), "", "",
                      "write it without, or leave the pattern out");
  }
  char peek(size_t ahead = 0) const { return at_ + ahead < text_.size() ? text_[at_ + ahead] : '\0'; }
  bool take(char c) {
    if (peek() != c || at_ >= text_.size()) return false;
    ++at_;
    return true;
  }

  Piece alternatives() {
    std::vector<Piece> ways;
    do ways.push_back(one_way());
    while (take('|'));
    return rules_.choice(std::move(ways));
  }

  // Outside of groups, what is not anchored may have anything around it.
  Piece one_way() {
    std::vector<Piece> parts{0};
    const auto anything = [this] { return rules_.repeat(json_.in_string(others({})), 0, kNoLimit); };
    bool ended = false;
    if (peek() == '^' && depth_ > 0) fail("^ stands behind the beginning");
    if (!take('^') && depth_ == 0) parts.push_back(anything());
    while (at_ < text_.size() && peek() != '|' && peek() != ')') {
      if (take('$')) {
        if (depth_ > 0 || (at_ < text_.size() && peek() != '|')) fail("$ stands before the end");
        ended = true;
        break;
      }
      Piece part = atom();
      while (quantified(part)) {
      }
      parts.push_back(part);
    }
    if (!ended && depth_ == 0) parts.push_back(anything());
    return rules_.sequence(std::move(parts));
  }

  Piece atom() {
    switch (peek()) {
      case '(':
        return group();
      case '[':
        return json_.in_string(characters());
      case '.':
        ++at_;
        return json_.in_string(others(kLineEnds));
      case '\\':
        return json_.in_string(escaped_set());
      case '^':
        fail("^ stands behind the beginning");
      case '*':
      case '+':
      case '?':
      case '{':
        fail("there is nothing to repeat");
      default: {
        const uint32_t c = character();
        return json_.in_string({{c, c}});
      }
    }
  }

  Piece group() {
    if (++depth_ > kMostGroups) fail("groups are nested too deeply");
    ++at_;
    if (take('?')) {
      if (take('<') && peek() != '=' && peek() != '!') {
        while (at_ < text_.size() && peek() != '>') ++at_;
        take('>');
      } else if (!take(':')) {
        fail("look-around is not read");
      }
    }
    const Piece inside = alternatives();
    if (!take(')')) fail("a bracket is not closed");
    --depth_;
    return inside;
  }

  bool quantified(Piece& part) {
    uint32_t least = 0, most = kNoLimit;
    if (take('+')) {
      least = 1;
    } else if (take('?')) {
      most = 1;
    } else if (take('{')) {
      least = number();
      most = take(',') ? (peek() == '}' ? kNoLimit : number()) : least;
      if (!take('}')) fail("a count is not closed");
      if (most < least) fail("a count is the wrong way round");
    } else if (!take('*')) {
      return false;
    }
    take('?');  // lazy: the same texts
    if (peek() == '+' || peek() == '*' || peek() == '?' || peek() == '{') fail("a count stands behind a count");
    part = rules_.repeat(part, least, most);
    return true;
  }
  uint32_t number() {
    uint32_t value = 0;
    if (peek() < '0' || peek() > '9') fail("a count is no number");
    while (peek() >= '0' && peek() <= '9') {
      value = value * 10 + static_cast<uint32_t>(text_[at_++] - '0');
      if (value > kMostRepeats) fail("a count is larger than " + std::to_string(kMostRepeats));
    }
    return value;
  }

  uint32_t character() {
    const Decoded c = decode_utf8(text_, at_);
    at_ += c.length;
    return c.code_point;
  }

  std::vector<CodeRange> characters() {
    ++at_;
    const bool negated = take('^');
    std::vector<CodeRange> all;
    while (peek() != ']') {
      if (at_ >= text_.size()) fail("a character class is not closed");
      const std::vector<CodeRange> low = member();
      if (peek() == '-' && peek(1) != ']' && is_one(low)) {
        ++at_;
        const std::vector<CodeRange> high = at_ < text_.size() ? member() : low;
        if (!is_one(high) || high[0].first < low[0].first) fail("a range is the wrong way round");
        all.push_back({low[0].first, high[0].first});
      } else {
        all.insert(all.end(), low.begin(), low.end());
      }
    }
    ++at_;
    all = joined(std::move(all));
    all = negated ? others(all) : both(all, others({}));
    if (all.empty()) fail("no character is in a class");
    return all;
  }
  static bool is_one(const std::vector<CodeRange>& set) { return set.size() == 1 && set[0].first == set[0].last; }
  std::vector<CodeRange> member() {
    if (peek() == '\\') return escaped_set();
    const uint32_t c = character();
    return {{c, c}};
  }

  std::vector<CodeRange> escaped_set() {
    ++at_;
    if (at_ >= text_.size()) fail("an escape is cut short");
    const char c = peek();
    const auto one = [&](uint32_t code) {
      ++at_;
      return std::vector<CodeRange>{{code, code}};
    };
    switch (c) {
      case 'd':
        return ++at_, kDigits;
      case 'D':
        return ++at_, others(kDigits);
      case 'w':
        return ++at_, kWord;
      case 'W':
        return ++at_, others(kWord);
      case 's':
        return ++at_, kSpace;
      case 'S':
        return ++at_, others(kSpace);
      case 't':
        return one('\t');
      case 'n':
        return one('\n');
      case 'r':
        return one('\r');
      case 'f':
        return one('\f');
      case 'v':
        return one('\v');
      case 'x':
        return one_hexadecimal(2);
      case 'u':
        return one_hexadecimal(4);
      default:
        if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9'))
          fail(std::string("\\") + c + " is not read");
        const uint32_t itself = character();
        return {{itself, itself}};
    }
  }
  std::vector<CodeRange> one_hexadecimal(size_t digits) {
    ++at_;
    uint32_t value = 0;
    for (size_t i = 0; i < digits; ++i, ++at_) {
      const char c = peek();
      const bool is_digit = c >= '0' && c <= '9', is_letter = (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
      if (!is_digit && !is_letter) fail("an escape is cut short");
      value = value << 4 | static_cast<uint32_t>(is_digit ? c - '0' : (c | 0x20) - 'a' + 10);
    }
    if (value >= 0xD800 && value <= 0xDFFF) fail("half a character is not read");
    return {{value, value}};
  }

  JsonText& json_;
  Rules& rules_;
  const std::string_view text_;
  const std::string& where_;
  size_t at_ = 0;
  int depth_ = 0;
};

// Days that every year has.
constexpr std::string_view kDate =
    "[1-9][0-9]{3}-((0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])|(0[469]|11)-(0[1-9]|[12][0-9]|30)|02-(0[1-9]|1[0-9]|2[0-"
    "8]))";
constexpr std::string_view kTime =
    "([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\\.[0-9]{1,6})?(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])";

// What a text of the format is: these parts, one behind the other.
struct Format {
  std::string_view name;
  std::string_view parts[3];
};
constexpr Format kFormats[] = {
    {"date", {kDate}},
    {"time", {kTime}},
    {"date-time", {kDate, "T", kTime}},
    {"uuid", {"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"}},
    {"ipv4", {"((25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])\\.){3}(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"}},
    {"email",
     {"[A-Za-z0-9_+-]{1,30}(\\.[A-Za-z0-9_+-]{1,30})?@", "([a-z0-9]([a-z0-9-]{0,28}[a-z0-9])?\\.){1,3}[a-z]{2,10}"}},
};

}  // namespace

Piece strings_matching(JsonText& json, std::string_view pattern, const std::string& where) {
  return PatternReader(json, pattern, where).all();
}

std::string pattern_of_format(std::string_view format) {
  for (const Format& known : kFormats)
    if (known.name == format) {
      std::string all = "^";
      for (const std::string_view part : known.parts) all += part;
      return all + "$";
    }
  return {};
}

std::string known_formats() {
  std::string names;
  for (const Format& known : kFormats) (names += names.empty() ? "" : ", ") += known.name;
  return names;
}

}  // namespace attar::runtime
