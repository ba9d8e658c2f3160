#include "runtime/formats/jinja/syntax/lexer.h"

#include <algorithm>
#include <cctype>
#include <cstdlib>

#include "runtime/formats/jinja/values/text.h"
#include "runtime/formats/tokenizer/unicode.h"

namespace attar::jinja {
namespace {

constexpr size_t kMaxSourceBytes = size_t{1} << 20;

// As jinja2: \r\n and \r are \n, in texts as well.
std::string with_plain_newlines(const std::string& source) {
  std::string out;
  for (size_t at = 0; at < source.size(); ++at) {
    const bool is_return = source[at] == '\r';
    out += is_return ? '\n' : source[at];
    if (is_return && source.compare(at + 1, 1, "\n") == 0) ++at;
  }
  return out;
}

// Source -> tokens. Whitespace control happens here.
class Lexer {
 public:
  explicit Lexer(const std::string& source) : source_(with_plain_newlines(source)) {
    if (source.size() > kMaxSourceBytes)
      throw input_error("chat template", "is too long", "at most 1 MiB", std::to_string(source.size()));
    if (!source_.empty() && source_.back() == '\n') source_.pop_back();  // jinja2 drops one final line break
  }

  std::vector<Token> run() {
    while (at_ < source_.size()) {
      const size_t open = next_opening();
      put_text(open);
      if (at_ >= source_.size()) break;
      const char kind = source_[at_ + 1];
      if (kind == '#')
        comment();
      else if (const size_t inside = kind == '%' ? after_tag_named("raw", at_) : 0; inside > 0)
        raw(inside);
      else
        code(kind == '%');
    }
    tokens_.push_back({TokenType::End, "", line_});
    return std::move(tokens_);
  }

 private:
  size_t next_opening() const {
    size_t open = at_;
    while ((open = source_.find('{', open)) != std::string::npos) {
      if (open + 1 < source_.size() &&
          (source_[open + 1] == '{' || source_[open + 1] == '%' || source_[open + 1] == '#'))
        return open;
      ++open;
    }
    return source_.size();
  }

  void advance(size_t to) {
    line_ += static_cast<int>(std::count(source_.begin() + static_cast<std::ptrdiff_t>(at_),
                                         source_.begin() + static_cast<std::ptrdiff_t>(to), '\n'));
    at_ = to;
  }

  // Text up to the opening, less what that strips.
  void put_text(size_t open) {
    std::string_view text = std::string_view(source_).substr(at_, open - at_);
    const char sign = open + 2 < source_.size() ? source_[open + 2] : ' ';
    const bool block = open + 1 < source_.size() && source_[open + 1] != '{';
    if (open < source_.size() && sign == '-') {
      text = without_blanks(text, Ends::Right);
    } else if (block && sign != '+') {  // lstrip_blocks: blanks between the line's start and the tag
      const size_t start = text.rfind('\n') + 1;
      if ((start > 0 || line_starts_) && without_blanks(text.substr(start), Ends::Left).empty())
        text = text.substr(0, start);
    }
    if (!text.empty()) tokens_.push_back({TokenType::Text, std::string(text), line_});
    advance(open);
  }

  // Behind a tag that ends at `end` with `sign` before its closing: trim_blocks, and `-`.
  void close_tag(size_t end, char sign, bool trims) {
    size_t to = end;
    if (sign == '-')
      to = source_.size() - without_blanks(std::string_view(source_).substr(end), Ends::Left).size();
    else if (trims && sign != '+' && source_.compare(end, 1, "\n") == 0)
      ++to;
    advance(to);
    line_starts_ = source_[to - 1] == '\n';
  }

  void comment() {
    const size_t end = source_.find("#}", at_ + 2);
    if (end == std::string::npos) throw syntax_error(line_, "a comment does not end");
    close_tag(end + 2, end > at_ + 2 ? source_[end - 1] : ' ', true);
  }

  // Where {% name %} at `open` ends; 0 when another tag stands there.
  size_t after_tag_named(std::string_view name, size_t open) const {
    const auto skip = [&](size_t at) {
      return source_.size() - without_blanks(std::string_view(source_).substr(at), Ends::Left).size();
    };
    size_t at = open + 2;
    if (at < source_.size() && (source_[at] == '-' || source_[at] == '+')) ++at;
    at = skip(std::min(at, source_.size()));
    if (source_.compare(at, name.size(), name) != 0) return 0;
    at = skip(at + name.size());
    if (at < source_.size() && (source_[at] == '-' || source_[at] == '+')) ++at;
    return source_.compare(at, 2, "%}") == 0 ? at + 2 : 0;
  }

  void raw(size_t inside) {
    close_tag(inside, source_[inside - 3], false);
    for (size_t open = at_; (open = source_.find("{%", open)) != std::string::npos; open += 2)
      if (const size_t end = after_tag_named("endraw", open); end > 0) {
        put_text(open);
        return close_tag(end, source_[end - 3], true);
      }
    throw syntax_error(line_, "a raw block does not end");
  }

  void code(bool block) {
    tokens_.push_back({block ? TokenType::BlockBegin : TokenType::OutputBegin, "", line_});
    at_ += 2;
    if (at_ < source_.size() && (source_[at_] == '-' || source_[at_] == '+')) ++at_;
    const char* close = block ? "%}" : "}}";
    int brackets = 0;
    while (true) {
      skip_blanks();
      if (at_ >= source_.size()) throw syntax_error(line_, "a tag does not end");
      const char sign = source_[at_] == '-' || (block && source_[at_] == '+') ? source_[at_] : ' ';
      const size_t end = at_ + (sign != ' ');
      if (brackets == 0 && source_.compare(end, 2, close) == 0) {
        tokens_.push_back({block ? TokenType::BlockEnd : TokenType::OutputEnd, "", line_});
        return close_tag(end + 2, sign, block);
      }
      brackets += std::string_view("([{").find(source_[at_]) != std::string_view::npos;
      brackets -= std::string_view(")]}").find(source_[at_]) != std::string_view::npos;
      if (brackets < 0) throw syntax_error(line_, "a bracket closes that was not opened");
      token();
    }
  }

  void skip_blanks() {
    while (at_ < source_.size() && std::string_view(" \t\n\r\f\v").find(source_[at_]) != std::string_view::npos)
      if (source_[at_++] == '\n') ++line_;
  }

  void token() {
    const char c = source_[at_];
    const auto is_word = [](char w) {
      return w == '_' || (w >= '0' && w <= '9') || ((w | 32) >= 'a' && (w | 32) <= 'z') || (w & 0x80) != 0;
    };
    if (c == '\'' || c == '"') return string(c);
    if (c >= '0' && c <= '9') return number();
    if (is_word(c)) {
      const size_t begin = at_;
      while (at_ < source_.size() && is_word(source_[at_])) ++at_;
      tokens_.push_back({TokenType::Name, source_.substr(begin, at_ - begin), line_});
      return;
    }
    for (const char* two : {"==", "!=", "<=", ">=", "//", "**"})
      if (source_.compare(at_, 2, two) == 0) {
        tokens_.push_back({TokenType::Operator, two, line_});
        at_ += 2;
        return;
      }
    if (std::string_view("+-*/%~|.,:()[]{}<>=").find(c) == std::string_view::npos)
      throw syntax_error(line_, "unexpected character " + printable(std::string(1, c)));
    tokens_.push_back({TokenType::Operator, std::string(1, c), line_});
    ++at_;
  }

  void string(char quote) {
    std::string text;
    for (++at_; at_ < source_.size() && source_[at_] != quote; ++at_) {
      char c = source_[at_];
      if (c == '\n') ++line_;
      if (c == '\\' && at_ + 1 < source_.size()) {
        ++at_;
        escape(text);
        continue;
      }
      text += c;
    }
    if (at_ >= source_.size()) throw syntax_error(line_, "a string does not end");
    ++at_;
    tokens_.push_back({TokenType::String, text, line_});
  }

  // What stands behind a backslash, as in Python; \N{...} is refused: the names of all characters are a megabyte.
  void escape(std::string& text) {
    static constexpr std::string_view kLetters = "ntrabfv\\'\"", kStands = "\n\t\r\a\b\f\v\\'\"";
    const char c = source_[at_];
    const size_t known = kLetters.find(c), hex = std::string_view("xuU").find(c);
    if (known != std::string_view::npos) {
      text += kStands[known];
    } else if (hex != std::string_view::npos) {
      const size_t n_digits = size_t{2} << hex;
      const std::string digits = source_.substr(at_ + 1, n_digits);
      const bool whole =
          digits.size() == n_digits && digits.find_first_not_of("0123456789abcdefABCDEF") == std::string::npos;
      const unsigned long code = whole ? std::strtoul(digits.c_str(), nullptr, 16) : ~0UL;
      if (code > 0x10FFFF || (code >= 0xD800 && code < 0xE000)) throw syntax_error(line_, "an escape is no character");
      append_utf8(text, static_cast<uint32_t>(code));
      at_ += n_digits;
    } else if (c == '\n') {
      ++line_;
    } else if (c >= '0' && c <= '7') {
      uint32_t code = 0;
      const size_t end = std::min(at_ + 3, source_.size());
      for (; at_ < end && source_[at_] >= '0' && source_[at_] <= '7'; ++at_)
        code = code * 8 + static_cast<uint32_t>(source_[at_] - '0');
      --at_;
      append_utf8(text, code);
    } else if (c == 'N') {
      throw syntax_error(line_, "the escape \\N is not supported");
    } else {
      text += '\\';
      text += c;
    }
  }

  // Digits, with `_` between them.
  size_t digits(size_t at, std::string_view among) const {
    const auto is_one = [&](size_t i) {
      return i < source_.size() && among.find(static_cast<char>(std::tolower(source_[i]))) != std::string_view::npos;
    };
    while (is_one(at) || (source_.compare(at, 1, "_") == 0 && is_one(at + 1))) ++at;
    return at;
  }

  void number() {
    static constexpr std::string_view kDigits = "0123456789abcdef";
    const size_t begin = at_;
    const size_t base =
        std::string_view("box").find(static_cast<char>(std::tolower(source_[std::min(at_ + 1, source_.size() - 1)])));
    bool real = false;
    if (source_[at_] == '0' && base != std::string_view::npos) {
      at_ = digits(at_ + 2, kDigits.substr(0, size_t{2} << (base == 0 ? 0 : base + 1)));
    } else {
      at_ = digits(at_, kDigits.substr(0, 10));
      if (source_.compare(at_, 1, ".") == 0 && digits(at_ + 1, kDigits.substr(0, 10)) > at_ + 1)
        real = true, at_ = digits(at_ + 1, kDigits.substr(0, 10));
      if (at_ < source_.size() && (source_[at_] | 32) == 'e') {
        const size_t sign = at_ + 1 < source_.size() && (source_[at_ + 1] == '+' || source_[at_ + 1] == '-');
        const size_t end = digits(at_ + 1 + sign, kDigits.substr(0, 10));
        if (end > at_ + 1 + sign) real = true, at_ = end;
      }
    }
    std::string text = source_.substr(begin, at_ - begin);
    std::erase(text, '_');
    tokens_.push_back({real ? TokenType::Float : TokenType::Integer, std::move(text), line_});
  }

  std::string source_;
  std::vector<Token> tokens_;
  size_t at_ = 0;
  int line_ = 1;
  bool line_starts_ = true;  // where the text at hand begins
};

}  // namespace

Error syntax_error(int line, const std::string& what) {
  return input_error("chat template, line " + std::to_string(line), what);
}

std::vector<Token> tokenize(const std::string& source) {
  return Lexer(source).run();
}

}  // namespace attar::jinja
