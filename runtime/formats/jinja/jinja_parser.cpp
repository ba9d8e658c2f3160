#include "runtime/formats/jinja/jinja_parser.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cstdlib>

#include "runtime/formats/jinja/jinja_lexer.h"

namespace attar::jinja {
namespace {

constexpr int kMaxDepth = 120;
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
      if (left->kind == Kind::Compare && !left->grouped) fail("chained comparisons are not supported");
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
  NodePtr unary() { return filtered(signed_value()); }
  NodePtr signed_value() {
    const Deeper deeper(*this);
    if (accept("-")) return with(Kind::Negate, "", signed_value());
    if (accept("+")) return signed_value();
    return postfixed(primary());
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
    list->name = "tuple";
    if (comma || list->children.empty()) return list;
    list->children[0]->grouped = true;
    return std::move(list->children[0]);
  }

  std::vector<Token> tokens_;
  size_t at_ = 0;
  int depth_ = 0;
};

}  // namespace

NodePtr parse(const std::string& source) {
  return Parser(tokenize(source)).run();
}

}  // namespace attar::jinja
