#include "runtime/formats/jinja/syntax/expressions.h"

#include <algorithm>
#include <cstdlib>

namespace attar::jinja {
namespace {

constexpr int kMaxDepth = 120;   // of brackets and tags in one another
constexpr int kMaxHeight = 300;  // of the tree: chains of operators count as well

}  // namespace

ExpressionParser::Deeper::Deeper(ExpressionParser& p) : parser(p) {
  if (++parser.depth_ > kMaxDepth) parser.fail("is nested too deeply");
}

void ExpressionParser::fail(const std::string& what) const {
  throw syntax_error(peek().line, what + (peek().text.empty() ? "" : " at `" + printable(peek().text, 40) + "`"));
}

bool ExpressionParser::accept(const char* op) {
  if (!is_operator(op)) return false;
  take();
  return true;
}

bool ExpressionParser::accept_name(const char* name) {
  if (!is_name(name)) return false;
  take();
  return true;
}

void ExpressionParser::expect(const char* op) {
  if (!accept(op)) fail(std::string("expected `") + op + "`");
}

std::string ExpressionParser::name() {
  if (peek().type != TokenType::Name) fail("expected a name");
  return take().text;
}

NodePtr ExpressionParser::node(Kind kind, std::string text) const {
  auto made = std::make_unique<Node>();
  made->kind = kind;
  made->line = peek().line;
  made->name = std::move(text);
  return made;
}

void ExpressionParser::adopt(Node& parent, NodePtr child) const {
  if (child) parent.height = std::max(parent.height, child->height + 1);
  if (parent.height > kMaxHeight) fail("is a chain of too many operators");
  parent.children.push_back(std::move(child));
}

NodePtr ExpressionParser::with(Kind kind, std::string text, NodePtr a, NodePtr b) const {
  NodePtr made = node(kind, std::move(text));
  made->line = a->line;
  adopt(*made, std::move(a));
  if (b) adopt(*made, std::move(b));
  return made;
}

NodePtr ExpressionParser::expression() {
  const Deeper deeper(*this);
  NodePtr value = or_expression();
  while (accept_name("if")) {
    NodePtr made = node(Kind::Conditional);
    adopt(*made, or_expression());
    adopt(*made, std::move(value));
    adopt(*made, accept_name("else") ? expression() : nullptr);
    value = std::move(made);
  }
  return value;
}

NodePtr ExpressionParser::or_expression() {
  NodePtr left = and_expression();
  while (accept_name("or")) left = with(Kind::Or, "", std::move(left), and_expression());
  return left;
}

NodePtr ExpressionParser::and_expression() {
  NodePtr left = not_expression();
  while (accept_name("and")) left = with(Kind::And, "", std::move(left), not_expression());
  return left;
}

NodePtr ExpressionParser::not_expression() {
  const Deeper deeper(*this);
  if (accept_name("not")) return with(Kind::Not, "", not_expression());
  return comparison();
}

NodePtr ExpressionParser::comparison() {
  NodePtr left = sum();
  NodePtr made = node(Kind::Compare);
  while (true) {
    std::string op;
    for (const char* symbol : {"==", "!=", "<=", ">=", "<", ">"})
      if (is_operator(symbol)) op = symbol;
    if (is_name("in")) op = "in";
    if (is_name("not") && peek(1).type == TokenType::Name && peek(1).text == "in") take(), op = "not in";
    if (op.empty()) break;
    take();
    made->words.push_back(std::move(op));
    if (made->children.empty()) adopt(*made, std::move(left));
    adopt(*made, sum());
  }
  return made->children.empty() ? std::move(left) : std::move(made);
}

NodePtr ExpressionParser::chain(std::initializer_list<const char*> operators, NodePtr (ExpressionParser::*operand)()) {
  NodePtr left = (this->*operand)();
  while (std::any_of(operators.begin(), operators.end(), [&](const char* op) { return is_operator(op); })) {
    const std::string op = take().text;
    left = with(Kind::Binary, op, std::move(left), (this->*operand)());
  }
  return left;
}
NodePtr ExpressionParser::sum() {
  return chain({"+", "-"}, &ExpressionParser::concatenation);
}
NodePtr ExpressionParser::concatenation() {
  return chain({"~"}, &ExpressionParser::product);
}
NodePtr ExpressionParser::product() {
  return chain({"*", "/", "//", "%"}, &ExpressionParser::power);
}
NodePtr ExpressionParser::power() {
  return chain({"**"}, &ExpressionParser::unary);
}

NodePtr ExpressionParser::unary() {
  return filtered(signed_value());
}

NodePtr ExpressionParser::signed_value() {
  const Deeper deeper(*this);
  if (accept("-")) return postfixed(with(Kind::Negate, "", signed_value()));
  if (accept("+")) return postfixed(with(Kind::Plus, "", signed_value()));
  return postfixed(primary());
}

NodePtr ExpressionParser::filtered(NodePtr value) {
  while (true) {
    if (accept("|"))
      value = filter_named(std::move(value));
    else if (accept_name("is"))
      value = test(std::move(value));
    else if (accept("("))
      arguments(*(value = with(Kind::Call, "", std::move(value))));
    else
      return value;
  }
}

NodePtr ExpressionParser::filter_named(NodePtr value) {
  NodePtr made = with(Kind::Filter, name(), std::move(value));
  if (accept("(")) arguments(*made);
  return made;
}

NodePtr ExpressionParser::filter_chain(NodePtr value) {
  do value = filter_named(std::move(value));
  while (accept("|"));
  return value;
}

NodePtr ExpressionParser::test(NodePtr value) {
  const bool negated = accept_name("not");
  NodePtr made = with(Kind::Test, name(), std::move(value));
  made->negated = negated;
  const TokenType type = peek().type;
  const bool argument = type == TokenType::String || type == TokenType::Integer || type == TokenType::Float ||
                        is_operator("[") || is_operator("{") ||
                        (type == TokenType::Name && !is_name("else") && !is_name("or") && !is_name("and"));
  if (accept("(")) {
    arguments(*made);
  } else if (argument) {
    if (is_name("is")) fail("tests cannot be chained");
    adopt(*made, postfixed(primary()));
  }
  return made;
}

NodePtr ExpressionParser::postfixed(NodePtr value) {
  while (true) {
    if (accept(".")) {
      if (peek().type == TokenType::Integer)
        value = with(Kind::Item, "", std::move(value), literal(integer(take().text)));
      else
        value = with(Kind::Attribute, name(), std::move(value));
    } else if (accept("[")) {
      value = subscript(std::move(value));
    } else if (accept("(")) {
      value = with(Kind::Call, "", std::move(value));
      arguments(*value);
    } else {
      return value;
    }
  }
}

NodePtr ExpressionParser::subscript(NodePtr value) {
  NodePtr parts[3];
  int colons = 0;
  while (!is_operator("]")) {
    if (accept(":")) {
      if (++colons > 2) fail("a slice has at most three parts");
    } else {
      if (parts[colons]) fail("expected `]`");
      parts[colons] = expression();
      if (colons == 0) parts[0] = tuple(std::move(parts[0]));
    }
  }
  expect("]");
  if (colons == 0) {
    if (!parts[0]) fail("an index is empty");
    return with(Kind::Item, "", std::move(value), std::move(parts[0]));
  }
  NodePtr made = with(Kind::Slice, "", std::move(value));
  for (NodePtr& part : parts) adopt(*made, std::move(part));
  return made;
}

void ExpressionParser::arguments(Node& call) {
  while (!accept(")")) {
    if (peek().type == TokenType::Name && peek(1).type == TokenType::Operator && peek(1).text == "=") {
      std::string keyword = name();
      expect("=");
      NodePtr value = expression();
      call.height = std::max(call.height, value->height + 1);
      call.keywords.emplace_back(std::move(keyword), std::move(value));
    } else if (is_operator("*") || is_operator("**")) {
      const std::string stars = take().text;
      adopt(call, with(Kind::Spread, stars, expression()));
    } else {
      if (!call.keywords.empty()) fail("an argument without a name stands behind one with a name");
      adopt(call, expression());
    }
    if (!accept(",") && !is_operator(")")) fail("expected `,` or `)`");
  }
}

void ExpressionParser::parameters(Node& macro) {
  while (!accept(")")) {
    std::string parameter = name();
    NodePtr fallback = accept("=") ? expression() : nullptr;
    if (!fallback && !macro.keywords.empty() && macro.keywords.back().second)
      fail("a parameter without a default stands behind one with a default");
    macro.keywords.emplace_back(std::move(parameter), std::move(fallback));
    if (!accept(",") && !is_operator(")")) fail("expected `,` or `)`");
  }
}

Whole ExpressionParser::integer(const std::string& text) const {
  const size_t known = text.size() > 1 ? std::string_view("bBoOxX").find(text[1]) : std::string_view::npos;
  const int base = known == std::string_view::npos ? 10 : known < 2 ? 2 : known < 4 ? 8 : 16;
  if (base == 10 && text.size() > 1 && text[0] == '0' && text.find_first_not_of('0') != std::string::npos)
    fail("a number begins with 0");
  if (base != 10 && text.size() == 2) fail("a number has no digits");
  Whole number = 0;
  for (size_t i = base == 10 ? 0 : 2; i < text.size(); ++i) {
    const int digit = text[i] <= '9' ? text[i] - '0' : (text[i] | 32) - 'a' + 10;
    if (__builtin_mul_overflow(number, Whole{base}, &number) || __builtin_add_overflow(number, Whole{digit}, &number))
      fail("a number is too large");
  }
  return number;
}

NodePtr ExpressionParser::literal(Value value) {
  NodePtr made = node(Kind::Literal);
  made->literal = std::move(value);
  return made;
}

NodePtr ExpressionParser::named(const std::string& text) {
  if (text == "true" || text == "True") return literal(true);
  if (text == "false" || text == "False") return literal(false);
  if (text == "none" || text == "None") return literal(None{});
  sees_more_ |= text == "varargs";
  sees_names_ |= text == "kwargs";
  sees_caller_ |= text == "caller";
  return node(Kind::Name, text);
}

NodePtr ExpressionParser::primary() {
  const Deeper deeper(*this);
  const Token token = peek();
  if (token.type == TokenType::String) {
    std::string text;
    while (peek().type == TokenType::String) text += take().text;  // neighbours join
    return literal(text);
  }
  if (token.type == TokenType::Integer) return literal(integer(take().text));
  if (token.type == TokenType::Float) return literal(std::strtod(take().text.c_str(), nullptr));
  if (token.type == TokenType::Name) return named(take().text);
  if (accept("(")) return group();
  if (accept("[")) return list();
  if (accept("{")) return dict();
  fail("expected a value");
}

NodePtr ExpressionParser::list() {
  NodePtr made = node(Kind::ListLiteral);
  while (!accept("]")) {
    adopt(*made, expression());
    if (!accept(",") && !is_operator("]")) fail("expected `,` or `]`");
  }
  return made;
}

NodePtr ExpressionParser::dict() {
  NodePtr made = node(Kind::DictLiteral);
  while (!accept("}")) {
    adopt(*made, expression());
    expect(":");
    adopt(*made, expression());
    if (!accept(",") && !is_operator("}")) fail("expected `,` or `}`");
  }
  return made;
}

NodePtr ExpressionParser::group() {
  NodePtr made = is_operator(")") ? node(Kind::ListLiteral, "tuple") : tuple(expression());
  expect(")");
  return made;
}

bool ExpressionParser::ends_tuple() const {
  return peek().type == TokenType::BlockEnd || peek().type == TokenType::OutputEnd || is_operator(")") ||
         is_operator("]") || is_operator("=") || is_name("in") || is_name("recursive");
}

NodePtr ExpressionParser::tuple(NodePtr first) {
  if (!is_operator(",")) return first;
  NodePtr made = with(Kind::ListLiteral, "tuple", std::move(first));
  while (accept(",") && !ends_tuple()) adopt(*made, expression());
  return made;
}

NodePtr ExpressionParser::target_name() {
  const Deeper deeper(*this);
  if (accept("(")) {
    NodePtr made = target();
    expect(")");
    return made;
  }
  NodePtr made = node(Kind::Name, name());
  for (const char* word : {"true", "false", "none", "True", "False", "None"})
    if (made->name == word) fail("cannot assign to a constant");
  return accept(".") ? with(Kind::Attribute, name(), std::move(made)) : std::move(made);
}

NodePtr ExpressionParser::target() {
  NodePtr first = target_name();
  if (!is_operator(",")) return first;
  NodePtr made = with(Kind::ListLiteral, "tuple", std::move(first));
  while (accept(",") && !ends_tuple()) adopt(*made, target_name());
  return made;
}

}  // namespace attar::jinja
