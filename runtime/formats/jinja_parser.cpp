#include "runtime/formats/jinja_parser.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cstdlib>

#include "runtime/base/error.h"

namespace attar::jinja {
namespace {

constexpr int kMaxDepth = 120;
constexpr size_t kMaxSourceBytes = size_t{1} << 20;

Error syntax_error(int line, const std::string& what) {
  return input_error("chat template, line " + std::to_string(line), what);
}

enum class TokenType {
  Text,
  BlockBegin,
  BlockEnd,
  OutputBegin,
  OutputEnd,
  Name,
  String,
  Integer,
  Float,
  Operator,
  End
};
struct Token {
  TokenType type;
  std::string text;
  int line;
};

// Source -> tokens. Whitespace control happens here.
class Lexer {
 public:
  explicit Lexer(const std::string& source) : source_(source) {
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
        c = source_[++at_];
        if (c == 'n')
          c = '\n';
        else if (c == 't')
          c = '\t';
        else if (c == 'r')
          c = '\r';
        else if (c != '\\' && c != '\'' && c != '"')
          text += '\\';
      }
      text += c;
    }
    if (at_ >= source_.size()) throw syntax_error(line_, "a string does not end");
    ++at_;
    tokens_.push_back({TokenType::String, text, line_});
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

class Parser {
 public:
  explicit Parser(std::vector<Token> tokens) : tokens_(std::move(tokens)) {}

  NodePtr run() {
    NodePtr body = this->body({});
    if (peek().type != TokenType::End) fail("unexpected tag");
    return body;
  }

 private:
  struct Deeper {  // a recursion guard
    explicit Deeper(Parser& p) : parser(p) {
      if (++parser.depth_ > kMaxDepth) parser.fail("is nested too deeply");
    }
    ~Deeper() { --parser.depth_; }
    Parser& parser;
  };

  const Token& peek(size_t ahead = 0) const { return tokens_[std::min(at_ + ahead, tokens_.size() - 1)]; }
  Token take() { return tokens_[at_ + 1 < tokens_.size() ? at_++ : at_]; }
  [[noreturn]] void fail(const std::string& what) const {
    throw syntax_error(peek().line, what + (peek().text.empty() ? "" : " at `" + printable(peek().text, 40) + "`"));
  }
  bool is(TokenType type, const char* text) const { return peek().type == type && peek().text == text; }
  bool is_operator(const char* text) const { return is(TokenType::Operator, text); }
  bool is_name(const char* text) const { return is(TokenType::Name, text); }
  bool accept(const char* op) {
    if (!is_operator(op)) return false;
    take();
    return true;
  }
  bool accept_name(const char* name) {
    if (!is_name(name)) return false;
    take();
    return true;
  }
  void expect(const char* op) {
    if (!accept(op)) fail(std::string("expected `") + op + "`");
  }
  std::string name() {
    if (peek().type != TokenType::Name) fail("expected a name");
    return take().text;
  }
  void end_block() {
    if (peek().type != TokenType::BlockEnd) fail("expected the end of the tag");
    take();
  }
  NodePtr node(Kind kind, std::string text = {}) const {
    auto made = std::make_unique<Node>();
    made->kind = kind;
    made->line = peek().line;
    made->name = std::move(text);
    return made;
  }
  NodePtr with(Kind kind, std::string text, NodePtr a, NodePtr b = nullptr) {
    NodePtr made = node(kind, std::move(text));
    made->height = 1 + std::max(a->height, b ? b->height : 0);
    if (made->height > kMaxDepth) fail("is a chain of too many operators");
    made->children.push_back(std::move(a));
    if (b) made->children.push_back(std::move(b));
    return made;
  }

  // Statements up to a tag named in `ends`, which is left for the caller.
  NodePtr body(const std::vector<std::string>& ends) {
    const Deeper deeper(*this);
    NodePtr made = node(Kind::Body);
    while (peek().type != TokenType::End) {
      if (peek().type == TokenType::Text) {
        made->children.push_back(node(Kind::Text, peek().text));
        take();
      } else if (peek().type == TokenType::OutputBegin) {
        take();
        made->children.push_back(with(Kind::Output, "", expression()));
        if (peek().type != TokenType::OutputEnd) fail("expected }}");
        take();
      } else {
        if (std::find(ends.begin(), ends.end(), peek(1).text) != ends.end()) return made;
        made->children.push_back(statement());
      }
    }
    if (!ends.empty()) fail("expected `" + ends.back() + "`");
    return made;
  }

  std::string tag() {  // {% name
    take();
    return name();
  }

  NodePtr statement() {
    const std::string kind = tag();
    if (kind == "if") return if_statement();
    if (kind == "for") return for_statement();
    if (kind == "set") return set_statement();
    if (kind == "macro") return macro();
    if (kind == "generation") {  // marks what the assistant says; its body is rendered as it is
      end_block();
      NodePtr inner = body({"endgeneration"});
      tag(), end_block();
      return inner;
    }
    if (kind == "break" || kind == "continue") {
      NodePtr made = node(kind == "break" ? Kind::Break : Kind::Continue);
      end_block();
      return made;
    }
    fail("the tag `" + printable(kind) + "` is not supported");
  }

  NodePtr if_statement() {
    const Deeper deeper(*this);  // an elif is an if inside
    NodePtr made = with(Kind::If, "", expression());
    end_block();
    made->children.push_back(body({"elif", "else", "endif"}));
    const std::string next = tag();
    if (next == "elif") {
      made->children.push_back(if_statement());
    } else if (next == "else") {
      end_block();
      made->children.push_back(body({"endif"}));
      tag(), end_block();
    } else {
      end_block();
    }
    return made;
  }

  NodePtr for_statement() {
    NodePtr made = node(Kind::For);
    do made->targets.push_back(name());
    while (accept(","));
    if (!accept_name("in")) fail("expected `in`");
    made->children.push_back(or_expression());
    made->children.push_back(accept_name("if") ? expression() : nullptr);
    end_block();
    made->children.push_back(body({"else", "endfor"}));
    made->children.push_back(nullptr);
    if (tag() == "else") {
      end_block();
      made->children.back() = body({"endfor"});
      tag();
    }
    end_block();
    return made;
  }

  NodePtr set_statement() {
    NodePtr made = node(Kind::Set, name());
    if (accept(".")) made->targets.push_back(name());
    if (accept("=")) {
      made->children.push_back(expression());
      end_block();
      return made;
    }
    made->kind = Kind::SetBlock;
    end_block();
    made->children.push_back(body({"endset"}));
    tag(), end_block();
    return made;
  }

  NodePtr macro() {
    NodePtr made = node(Kind::Macro, name());
    expect("(");
    while (!accept(")")) {
      made->targets.push_back(name());
      made->keywords.emplace_back(made->targets.back(), accept("=") ? expression() : nullptr);
      if (!accept(",") && !is_operator(")")) fail("expected `,` or `)`");
    }
    end_block();
    made->children.push_back(body({"endmacro"}));
    tag(), end_block();
    return made;
  }

  NodePtr expression() {
    const Deeper deeper(*this);
    NodePtr value = or_expression();
    while (accept_name("if")) {
      NodePtr made = node(Kind::Conditional);
      made->children.push_back(or_expression());
      made->children.push_back(std::move(value));
      made->children.push_back(accept_name("else") ? expression() : nullptr);
      value = std::move(made);
    }
    return value;
  }
  NodePtr or_expression() {
    NodePtr left = and_expression();
    while (accept_name("or")) left = with(Kind::Or, "", std::move(left), and_expression());
    return left;
  }
  NodePtr and_expression() {
    NodePtr left = not_expression();
    while (accept_name("and")) left = with(Kind::And, "", std::move(left), not_expression());
    return left;
  }
  NodePtr not_expression() {
    const Deeper deeper(*this);
    if (accept_name("not")) return with(Kind::Not, "", not_expression());
    return comparison();
  }
  NodePtr comparison() {
    NodePtr left = sum();
    while (true) {
      std::string op;
      bool negated = false;
      for (const char* symbol : {"==", "!=", "<=", ">=", "<", ">"})
        if (is_operator(symbol)) op = symbol;
      if (!op.empty()) {
        take();
      } else if (is_name("in")) {
        op = take().text;
      } else if (is_name("not") && peek(1).text == "in") {
        take();
        op = take().text;
        negated = true;
      } else {
        return left;
      }
      left = with(Kind::Compare, op, std::move(left), sum());
      left->negated = negated;
    }
  }
  NodePtr sum() {
    NodePtr left = concatenation();
    while (is_operator("+") || is_operator("-")) {
      const std::string op = take().text;
      left = with(Kind::Binary, op, std::move(left), concatenation());
    }
    return left;
  }
  NodePtr concatenation() {
    NodePtr left = product();
    while (accept("~")) left = with(Kind::Binary, "~", std::move(left), product());
    return left;
  }
  NodePtr product() {
    NodePtr left = unary();
    while (is_operator("*") || is_operator("/") || is_operator("//") || is_operator("%")) {
      const std::string op = take().text;
      left = with(Kind::Binary, op, std::move(left), unary());
    }
    return left;
  }
  NodePtr unary() {
    const Deeper deeper(*this);
    if (accept("-")) return with(Kind::Negate, "", unary());
    if (accept("+")) return unary();
    return filtered(postfixed(primary()));
  }

  NodePtr filtered(NodePtr value) {
    while (true) {
      if (accept("|")) {
        NodePtr made = with(Kind::Filter, name(), std::move(value));
        if (accept("(")) arguments(*made);
        value = std::move(made);
      } else if (accept_name("is")) {
        const bool negated = accept_name("not");
        NodePtr made = with(Kind::Test, name(), std::move(value));
        made->negated = negated;
        if (accept("("))
          arguments(*made);
        else if (starts_argument())
          made->children.push_back(postfixed(primary()));
        value = std::move(made);
      } else {
        return value;
      }
    }
  }
  bool starts_argument() const {
    const TokenType type = peek().type;
    if (type == TokenType::String || type == TokenType::Integer || type == TokenType::Float) return true;
    if (type != TokenType::Name) return false;
    for (const char* word : {"and", "or", "not", "if", "else", "is", "in"})
      if (peek().text == word) return false;
    return true;
  }

  NodePtr postfixed(NodePtr value) {
    while (true) {
      if (accept(".")) {
        if (peek().type == TokenType::Integer) {
          NodePtr index = node(Kind::Literal);
          index->literal = Value(integer(take().text));
          value = with(Kind::Item, "", std::move(value), std::move(index));
        } else {
          value = with(Kind::Attribute, name(), std::move(value));
        }
      } else if (accept("[")) {
        value = subscript(std::move(value));
      } else if (accept("(")) {
        NodePtr made = with(Kind::Call, "", std::move(value));
        arguments(*made);
        value = std::move(made);
      } else {
        return value;
      }
    }
  }
  NodePtr subscript(NodePtr value) {
    NodePtr parts[3];
    int colons = 0;
    while (!is_operator("]")) {
      if (accept(":")) {
        if (++colons > 2) fail("a slice has at most three parts");
      } else {
        parts[colons] = expression();
      }
    }
    expect("]");
    if (colons == 0) {
      if (!parts[0]) fail("an index is empty");
      return with(Kind::Item, "", std::move(value), std::move(parts[0]));
    }
    NodePtr made = with(Kind::Slice, "", std::move(value));
    for (NodePtr& part : parts) made->children.push_back(std::move(part));
    return made;
  }

  // After the opening bracket.
  void arguments(Node& call) {
    while (!accept(")")) {
      if (peek().type == TokenType::Name && peek(1).type == TokenType::Operator && peek(1).text == "=") {
        std::string keyword = name();
        expect("=");
        call.keywords.emplace_back(std::move(keyword), expression());
      } else {
        call.children.push_back(expression());
      }
      if (!accept(",") && !is_operator(")")) fail("expected `,` or `)`");
    }
  }

  int64_t integer(const std::string& text) {
    int64_t number = 0;
    if (std::from_chars(text.data(), text.data() + text.size(), number).ec != std::errc())
      fail("a number is too large");
    return number;
  }

  NodePtr primary() {
    const Deeper deeper(*this);
    const Token token = peek();
    NodePtr made = node(Kind::Literal);
    if (token.type == TokenType::String) {
      std::string text;
      while (peek().type == TokenType::String) text += take().text;  // neighbours join
      made->literal = Value(text);
      return made;
    }
    if (token.type == TokenType::Integer) {
      made->literal = Value(integer(token.text));
      take();
      return made;
    }
    if (token.type == TokenType::Float) {
      made->literal = Value(std::strtod(token.text.c_str(), nullptr));
      take();
      return made;
    }
    if (token.type == TokenType::Name) {
      take();
      if (token.text == "true" || token.text == "True")
        made->literal = Value(true);
      else if (token.text == "false" || token.text == "False")
        made->literal = Value(false);
      else if (token.text == "none" || token.text == "None")
        made->literal = Value(None{});
      else
        made->kind = Kind::Name, made->name = token.text;
      return made;
    }
    if (accept("(")) return tuple_or_group();
    if (accept("[")) {
      made->kind = Kind::ListLiteral;
      while (!accept("]")) {
        made->children.push_back(expression());
        if (!accept(",") && !is_operator("]")) fail("expected `,` or `]`");
      }
      return made;
    }
    if (accept("{")) {
      made->kind = Kind::DictLiteral;
      while (!accept("}")) {
        made->children.push_back(expression());
        expect(":");
        made->children.push_back(expression());
        if (!accept(",") && !is_operator("}")) fail("expected `,` or `}`");
      }
      return made;
    }
    fail("expected a value");
  }
  NodePtr tuple_or_group() {
    NodePtr list = node(Kind::ListLiteral);
    bool comma = false;
    while (!accept(")")) {
      list->children.push_back(expression());
      comma |= is_operator(",");
      if (!accept(",") && !is_operator(")")) fail("expected `,` or `)`");
    }
    return comma || list->children.empty() ? std::move(list) : std::move(list->children[0]);
  }

  std::vector<Token> tokens_;
  size_t at_ = 0;
  int depth_ = 0;
};

}  // namespace

NodePtr parse(const std::string& source) {
  return Parser(Lexer(source).run()).run();
}

}  // namespace attar::jinja
