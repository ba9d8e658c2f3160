#include "runtime/formats/jinja/jinja_lexer.h"

#include <algorithm>
#include <cstdlib>

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

  // Text up to the opening, less what the tags around it strip.
  void put_text(size_t open) {
    std::string text = source_.substr(at_, open - at_);
    if (strip_next_)
      text.erase(0, text.find_first_not_of(" \t\r\n"));
    else if (trim_newline_ && !text.empty() && text[0] == '\n')
      text.erase(0, 1);
    const bool strips = open + 2 < source_.size() && source_[open + 2] == '-';
    const bool keeps = open + 2 < source_.size() && source_[open + 2] == '+';
    const bool block = open + 1 < source_.size() && source_[open + 1] != '{';
    if (strips) {
      const size_t last = text.find_last_not_of(" \t\r\n");
      text.erase(last == std::string::npos ? 0 : last + 1);
    } else if (block && !keeps) {  // lstrip_blocks: blanks between the line's start and the tag
      const size_t last = text.find_last_not_of(" \t");
      const size_t cut = last == std::string::npos ? 0 : last + 1;
      if (at_line_start(open)) text.erase(cut);
    }
    if (!text.empty()) tokens_.push_back({TokenType::Text, text, line_});
    line_ += static_cast<int>(std::count(source_.begin() + static_cast<std::ptrdiff_t>(at_),
                                         source_.begin() + static_cast<std::ptrdiff_t>(open), '\n'));
    at_ = open;
    strip_next_ = trim_newline_ = false;
  }

  // Only blanks stand between the start of the line and `open`.
  bool at_line_start(size_t open) const {
    while (open > 0 && (source_[open - 1] == ' ' || source_[open - 1] == '\t')) --open;
    return open == 0 || source_[open - 1] == '\n';
  }

  void comment() {
    const size_t end = source_.find("#}", at_ + 2);
    if (end == std::string::npos) throw syntax_error(line_, "a comment does not end");
    line_ += static_cast<int>(std::count(source_.begin() + static_cast<std::ptrdiff_t>(at_),
                                         source_.begin() + static_cast<std::ptrdiff_t>(end), '\n'));
    strip_next_ = source_[end - 1] == '-';
    trim_newline_ = true;
    at_ = end + 2;
  }

  void code(bool block) {
    tokens_.push_back({block ? TokenType::BlockBegin : TokenType::OutputBegin, "", line_});
    at_ += 2;
    if (at_ < source_.size() && (source_[at_] == '-' || source_[at_] == '+')) ++at_;
    const char* close = block ? "%}" : "}}";
    int braces = 0;
    while (true) {
      skip_blanks();
      if (at_ >= source_.size()) throw syntax_error(line_, "a tag does not end");
      const bool minus = source_.compare(at_, 1, "-") == 0 && source_.compare(at_ + 1, 2, close) == 0;
      const bool plus = source_.compare(at_, 1, "+") == 0 && source_.compare(at_ + 1, 2, close) == 0;
      if (braces == 0 && (minus || plus || source_.compare(at_, 2, close) == 0)) {
        at_ += minus || plus ? 3 : 2;
        strip_next_ = minus;
        trim_newline_ = block && !plus;
        tokens_.push_back({block ? TokenType::BlockEnd : TokenType::OutputEnd, "", line_});
        return;
      }
      if (source_[at_] == '{') ++braces;
      if (source_[at_] == '}') --braces;
      token();
    }
  }

  void skip_blanks() {
    while (at_ < source_.size() &&
           (source_[at_] == ' ' || source_[at_] == '\t' || source_[at_] == '\n' || source_[at_] == '\r'))
      if (source_[at_++] == '\n') ++line_;
  }

  void token() {
    const char c = source_[at_];
    const auto is_word = [](char w) {
      return w == '_' || (w >= '0' && w <= '9') || ((w | 32) >= 'a' && (w | 32) <= 'z');
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

  // What stands behind a backslash, as in Python; \0 and \N{...} are refused.
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
    } else if (c == 'N' || (c >= '0' && c <= '7')) {
      throw syntax_error(line_, std::string("the escape \\") + c + " is not supported");
    } else {
      text += '\\';
      text += c;
    }
  }

  void number() {
    const size_t begin = at_;
    bool real = false;
    while (at_ < source_.size() &&
           ((source_[at_] >= '0' && source_[at_] <= '9') || (source_[at_] == '.' && !real && at_ + 1 < source_.size() &&
                                                             source_[at_ + 1] >= '0' && source_[at_ + 1] <= '9')))
      real |= source_[at_++] == '.';
    const size_t digits = source_.find_first_not_of("+-", at_ + 1);
    if (at_ < source_.size() && (source_[at_] == 'e' || source_[at_] == 'E') && digits != std::string::npos &&
        digits <= at_ + 2 && std::isdigit(static_cast<unsigned char>(source_[digits]))) {
      real = true;
      at_ = digits;
      while (at_ < source_.size() && std::isdigit(static_cast<unsigned char>(source_[at_]))) ++at_;
    }
    tokens_.push_back({real ? TokenType::Float : TokenType::Integer, source_.substr(begin, at_ - begin), line_});
  }

  std::string source_;
  std::vector<Token> tokens_;
  size_t at_ = 0;
  int line_ = 1;
  bool strip_next_ = false, trim_newline_ = false;
};

}  // namespace

Error syntax_error(int line, const std::string& what) {
  return input_error("chat template, line " + std::to_string(line), what);
}

std::vector<Token> tokenize(const std::string& source) {
  return Lexer(source).run();
}

}  // namespace attar::jinja
