#include "runtime/formats/jinja/syntax/parser.h"

#include <algorithm>

#include "runtime/formats/jinja/syntax/expressions.h"

namespace attar::jinja {
namespace {

class Parser : ExpressionParser {
 public:
  using ExpressionParser::ExpressionParser;

  Program run() {
    Program program{body({}), false};
    if (peek().type != TokenType::End) fail("unexpected tag");
    program.marks_generation = marks_generation_;
    return program;
  }

 private:
  void end_block() {
    if (peek().type != TokenType::BlockEnd) fail("expected the end of the tag");
    take();
  }

  // Statements up to a tag named in `ends`, which is left for the caller.
  NodePtr body(const std::vector<std::string>& ends) {
    const Deeper deeper(*this);
    NodePtr made = node(Kind::Body);
    while (peek().type != TokenType::End) {
      if (peek().type == TokenType::Text) {
        adopt(*made, node(Kind::Text, peek().text));
        take();
      } else if (peek().type == TokenType::OutputBegin) {
        take();
        adopt(*made, with(Kind::Output, "", tuple(expression())));
        if (peek().type != TokenType::OutputEnd) fail("expected }}");
        take();
      } else {
        if (std::find(ends.begin(), ends.end(), peek(1).text) != ends.end()) return made;
        adopt(*made, statement());
      }
    }
    if (!ends.empty()) fail("expected `" + ends.back() + "`");
    return made;
  }

  // The body of a tag, with both its ends.
  NodePtr inside(const char* end) {
    end_block();
    NodePtr made = body({end});
    tag();
    if (std::string_view(end) == "endblock" && peek().type == TokenType::Name) take();
    end_block();
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
    if (kind == "macro") return macro_statement();
    if (kind == "call") return call_statement();
    if (kind == "with") return with_statement();
    if (kind == "filter") {
      NodePtr chain = filter_chain(node(Kind::Given));
      return with(Kind::FilterBlock, "", inside("endfilter"), std::move(chain));
    }
    if (kind == "generation") {  // marks what the assistant says
      marks_generation_ = true;
      return with(Kind::Generation, "", inside("endgeneration"));
    }
    if (kind == "block") {
      name();
      if (accept_name("scoped")) fail("`scoped` is not supported");
      return with(Kind::Scope, "", inside("endblock"));
    }
    if (kind == "autoescape") {
      if (!accept_name("false")) fail("escaping is not supported");
      return with(Kind::Scope, "", inside("endautoescape"));
    }
    if (kind == "break" || kind == "continue") {
      if (loops_ == 0) fail("stands outside of a loop");
      NodePtr made = node(kind == "break" ? Kind::Break : Kind::Continue);
      end_block();
      return made;
    }
    fail("the tag `" + printable(kind) + "` is not supported");
  }

  NodePtr if_statement() {
    const Deeper deeper(*this);  // an elif is an if inside
    NodePtr made = with(Kind::If, "", tuple(or_expression()));
    end_block();
    adopt(*made, body({"elif", "else", "endif"}));
    const std::string next = tag();
    if (next == "elif")
      adopt(*made, if_statement());
    else if (next == "else")
      adopt(*made, inside("endif"));
    else
      end_block();
    return made;
  }

  NodePtr for_statement() {
    NodePtr made = node(Kind::For);
    adopt(*made, target());
    if (!accept_name("in")) fail("expected `in`");
    adopt(*made, tuple(or_expression()));
    adopt(*made, accept_name("if") ? expression() : nullptr);
    made->recursive = accept_name("recursive");
    end_block();
    ++loops_;
    adopt(*made, body({"else", "endfor"}));
    --loops_;
    if (tag() == "else")
      adopt(*made, inside("endfor"));
    else
      end_block();
    return made;
  }

  NodePtr set_statement() {
    NodePtr made = with(Kind::Set, "", target());
    if (accept("=")) {
      adopt(*made, tuple(expression()));
      end_block();
      return made;
    }
    made->kind = Kind::SetBlock;
    NodePtr chain = accept("|") ? filter_chain(node(Kind::Given)) : node(Kind::Given);
    adopt(*made, inside("endset"));
    adopt(*made, std::move(chain));
    return made;
  }

  NodePtr with_statement() {
    NodePtr made = node(Kind::With);
    while (peek().type != TokenType::BlockEnd) {
      adopt(*made, target());
      expect("=");
      adopt(*made, expression());
      if (!accept(",") && peek().type != TokenType::BlockEnd) fail("expected `,`");
    }
    adopt(*made, inside("endwith"));
    return made;
  }

  NodePtr macro_statement() {
    NodePtr made = node(Kind::Macro, name());
    expect("(");
    parameters(*made);
    return macro(std::move(made), "endmacro");
  }

  NodePtr call_statement() {
    NodePtr caller = node(Kind::Macro, "caller");
    if (accept("(")) parameters(*caller);
    NodePtr call = unary();
    if (call->kind != Kind::Call) fail("expected a call");
    return with(Kind::CallBlock, "", std::move(call), macro(std::move(caller), "endcall"));
  }

  NodePtr macro(NodePtr made, const char* end) {
    const int loops = std::exchange(loops_, 0);
    const bool more = std::exchange(sees_more_, false), names = std::exchange(sees_names_, false),
               caller = std::exchange(sees_caller_, false);
    adopt(*made, inside(end));
    made->takes_more = sees_more_;
    made->takes_names = sees_names_;
    made->takes_caller = sees_caller_;
    sees_more_ |= more;
    sees_names_ |= names;
    sees_caller_ |= caller;
    loops_ = loops;
    return made;
  }

  int loops_ = 0;  // around the statement at hand, in the same macro
  bool marks_generation_ = false;
};

}  // namespace

Program parse(const std::string& source) {
  return Parser(tokenize(source)).run();
}

}  // namespace attar::jinja
