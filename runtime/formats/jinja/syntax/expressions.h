// The parser's lower half: tokens and expressions.
#pragma once

#include <initializer_list>
#include <string>
#include <vector>

#include "runtime/formats/jinja/syntax/lexer.h"
#include "runtime/formats/jinja/syntax/parser.h"

namespace attar::jinja {

class ExpressionParser {
 public:
  explicit ExpressionParser(std::vector<Token> tokens) : tokens_(std::move(tokens)) {}

 protected:
  struct Deeper {  // a recursion guard
    explicit Deeper(ExpressionParser& p);
    ~Deeper() { --parser.depth_; }
    ExpressionParser& parser;
  };

  const Token& peek(size_t ahead = 0) const { return tokens_[std::min(at_ + ahead, tokens_.size() - 1)]; }
  Token take() { return tokens_[at_ + 1 < tokens_.size() ? at_++ : at_]; }
  [[noreturn]] void fail(const std::string& what) const;
  bool is_operator(const char* text) const { return peek().type == TokenType::Operator && peek().text == text; }
  bool is_name(const char* text) const { return peek().type == TokenType::Name && peek().text == text; }
  bool accept(const char* op);
  bool accept_name(const char* name);
  void expect(const char* op);
  std::string name();
  NodePtr node(Kind kind, std::string text = {}) const;
  void adopt(Node& parent, NodePtr child) const;  // null stays null
  NodePtr with(Kind kind, std::string text, NodePtr a, NodePtr b = nullptr) const;

  NodePtr expression();                 // with `x if y else z`
  NodePtr or_expression();              // without
  NodePtr tuple(NodePtr first);         // the rest of `a, b` when a comma follows
  NodePtr target();                     // of set, for and with: names, tuples of them, a namespace's attribute
  NodePtr filtered(NodePtr value);      // | filters and `is` tests
  NodePtr filter_chain(NodePtr value);  // name | name ...
  NodePtr unary();
  void parameters(Node& macro);  // after the opening bracket
  NodePtr postfixed(NodePtr value);

  bool sees_more_ = false, sees_names_ = false, sees_caller_ = false;  // varargs, kwargs, caller were named

 private:
  NodePtr and_expression();
  NodePtr not_expression();
  NodePtr comparison();
  // Operands with any of the operators between them, the left ones first.
  NodePtr chain(std::initializer_list<const char*> operators, NodePtr (ExpressionParser::*operand)());
  NodePtr sum();
  NodePtr concatenation();
  NodePtr product();
  NodePtr power();
  NodePtr signed_value();
  NodePtr filter_named(NodePtr value);
  NodePtr test(NodePtr value);
  NodePtr subscript(NodePtr value);
  NodePtr primary();
  NodePtr named(const std::string& text);
  NodePtr literal(Value value);
  NodePtr list();
  NodePtr dict();
  NodePtr group();
  NodePtr target_name();
  void arguments(Node& call);  // after the opening bracket
  bool ends_tuple() const;
  Whole integer(const std::string& text) const;

  std::vector<Token> tokens_;
  size_t at_ = 0;
  int depth_ = 0;
};

}  // namespace attar::jinja
