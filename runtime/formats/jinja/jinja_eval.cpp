#include "runtime/formats/jinja/jinja_eval.h"

#include <algorithm>
#include <cmath>
#include <optional>

#include "runtime/base/error.h"
#include "runtime/formats/tokenizer/unicode.h"

namespace attar::jinja {

Error at_line(int line, const std::string& what) {
  return input_error("chat template, line " + std::to_string(line), what);
}

void Site::charge(size_t n) const {
  steps -= static_cast<int64_t>(n);
  if (steps < 0) throw at_line(line, "the template takes too many steps");
}

Value attribute(const Value& value, const std::string& name, int line) {
  if (value.is_undefined()) throw at_line(line, "`" + printable(name) + "` of something undefined");
  const Value* found = value.dict() != nullptr ? find(*value.dict(), name) : nullptr;
  return found != nullptr ? *found : Value();
}

namespace {

enum class Flow { Next, Break, Continue };

class Interpreter {
 public:
  Interpreter(const Dict& globals, const Limits& limits) : limits_(limits), steps_left_(limits.steps) {
    scopes_.push_back(globals);
  }

  std::string run(const Node& program) {
    execute(program);
    return std::move(output_);
  }

 private:
  struct Step {  // counts work and depth
    Step(Interpreter& i, const Node& node) : interpreter(i) {
      i.site(node).charge(1);
      if (++i.depth_ > i.limits_.depth) throw at_line(node.line, "the template nests too deeply");
    }
    ~Step() { --interpreter.depth_; }
    Interpreter& interpreter;
  };

  Site site(const Node& node) { return {node.line, steps_left_}; }

  Value lookup(const std::string& name) const {
    for (auto scope = scopes_.rbegin(); scope != scopes_.rend(); ++scope)
      if (const Value* found = find(*scope, name)) return *found;
    return {};
  }

  void write(const std::string& text, int line) {
    if (output_.size() + text.size() > limits_.output_bytes) throw at_line(line, "the template writes too much");
    output_ += text;
  }

  Flow execute(const Node& node) {
    const Step step(*this, node);
    switch (node.kind) {
      case Kind::Body:
        for (const NodePtr& child : node.children)
          if (const Flow flow = execute(*child); flow != Flow::Next) return flow;
        return Flow::Next;
      case Kind::Text:
        write(node.name, node.line);
        return Flow::Next;
      case Kind::Output:
        write(to_text(evaluate(*node.children[0])), node.line);
        return Flow::Next;
      case Kind::If:
        if (truthy(evaluate(*node.children[0]))) return execute(*node.children[1]);
        return node.children.size() > 2 ? execute(*node.children[2]) : Flow::Next;
      case Kind::For:
        loop(node);
        return Flow::Next;
      case Kind::Set:
        assign_target(node, evaluate(*node.children[0]));
        return Flow::Next;
      case Kind::SetBlock:
        assign_target(node, Value(captured(*node.children[0])));
        return Flow::Next;
      case Kind::Macro:
        assign(scopes_.back(), node.name, macro(node));
        return Flow::Next;
      case Kind::Break:
        return Flow::Break;
      case Kind::Continue:
        return Flow::Continue;
      default:
        evaluate(node);
        return Flow::Next;
    }
  }

  std::string captured(const Node& body) {
    std::string before;
    before.swap(output_);
    execute(body);
    before.swap(output_);
    return before;
  }

  void assign_target(const Node& node, Value value) {
    if (node.targets.empty()) return assign(scopes_.back(), node.name, std::move(value));
    const Value space = lookup(node.name);
    if (space.dict() == nullptr) throw at_line(node.line, "`" + printable(node.name) + "` is no namespace");
    steps_left_ -= count_values(value, steps_left_);
    if (reaches(value, space.dict())) throw at_line(node.line, "a namespace cannot hold itself");
    assign(*space.dict(), node.targets[0], std::move(value));
  }

  void bind(const Node& node, const Value& item, Dict& scope) {
    if (node.targets.size() == 1) return assign(scope, node.targets[0], item);
    const List* parts = item.list();
    if (parts == nullptr || parts->size() != node.targets.size())
      throw at_line(node.line,
                    "the items of the loop do not come in " + std::to_string(node.targets.size()) + " parts");
    for (size_t i = 0; i < parts->size(); ++i) assign(scope, node.targets[i], (*parts)[i]);
  }

  void loop(const Node& node) {
    List items = items_of(evaluate(*node.children[0]), site(node));
    if (node.children[1]) {  // `if` of the loop
      List kept;
      for (const Value& item : items) {
        scopes_.emplace_back();
        bind(node, item, scopes_.back());
        if (truthy(evaluate(*node.children[1]))) kept.push_back(item);
        scopes_.pop_back();
      }
      items = std::move(kept);
    }
    if (items.empty() && node.children[3]) {
      execute(*node.children[3]);
      return;
    }
    const auto n = static_cast<int64_t>(items.size());
    for (int64_t i = 0; i < n; ++i) {
      scopes_.emplace_back();
      bind(node, items[static_cast<size_t>(i)], scopes_.back());
      Dict state{{"index", Value(i + 1)},    {"index0", Value(i)},
                 {"revindex", Value(n - i)}, {"revindex0", Value(n - i - 1)},
                 {"first", Value(i == 0)},   {"last", Value(i + 1 == n)},
                 {"length", Value(n)}};
      if (i > 0) state.emplace_back("previtem", items[static_cast<size_t>(i) - 1]);
      if (i + 1 < n) state.emplace_back("nextitem", items[static_cast<size_t>(i) + 1]);
      assign(scopes_.back(), "loop", Value(std::move(state)));
      const Flow flow = execute(*node.children[2]);
      scopes_.pop_back();
      if (flow == Flow::Break) return;
    }
  }

  Value macro(const Node& node) {
    if (scopes_.size() > 1) throw at_line(node.line, "a macro inside a loop or a macro is not supported");
    const Node* definition = &node;
    return Value(Function([this, definition](const List& arguments, const Arguments& keywords) {
      std::vector<Dict> outside;  // a macro sees globals and its own arguments
      outside.swap(scopes_);
      scopes_.push_back(outside.front());
      scopes_.emplace_back();
      size_t used = 0;
      for (size_t i = 0; i < definition->targets.size(); ++i) {
        const std::string& name = definition->targets[i];
        const NodePtr& fallback = definition->keywords[i].second;
        const auto given = keywords.find(name);
        used += i < arguments.size() || given != keywords.end();
        if (i < arguments.size())
          assign(scopes_.back(), name, arguments[i]);
        else if (given != keywords.end())
          assign(scopes_.back(), name, given->second);
        else
          assign(scopes_.back(), name, fallback ? evaluate(*fallback) : Value());
      }
      if (used != arguments.size() + keywords.size())
        throw at_line(definition->line, "the macro `" + printable(definition->name) + "` has no such argument");
      std::string text = captured(*definition->children[0]);
      scopes_.swap(outside);
      return Value(std::move(text));
    }));
  }

  // Long texts and lists count as many steps, so that what a template may cost and hold is bounded however it is
  // written.
  Value evaluate(const Node& node) {
    const Step step(*this, node);
    Value value = compute(node);
    if (const std::string* text = value.text()) site(node).charge(text->size() / 128);
    if (const List* list = value.list()) {
      const bool made_here = node.kind == Kind::Filter || node.kind == Kind::Slice || node.kind == Kind::Binary;
      site(node).charge(list->size() / (made_here ? 1 : 16));
      if (list->size() > kMostItems) throw at_line(node.line, "a list grows too long");
    }
    if (node.kind == Kind::ListLiteral || node.kind == Kind::DictLiteral || node.kind == Kind::Call)
      steps_left_ -= count_values(value, steps_left_);
    return value;
  }

  Value compute(const Node& node) {
    switch (node.kind) {
      case Kind::Literal:
        return node.literal;
      case Kind::Name:
        return lookup(node.name);
      case Kind::ListLiteral: {
        List list;
        list.tuple = node.name == "tuple";
        for (const NodePtr& child : node.children) list.push_back(evaluate(*child));
        return list;
      }
      case Kind::DictLiteral: {
        Dict dict;
        for (size_t i = 0; i < node.children.size(); i += 2) {
          const Value key = evaluate(*node.children[i]);
          if (key.text() == nullptr) throw at_line(node.line, "the key of a mapping must be text");
          site(node).charge(dict.size() / 16);
          assign(dict, *key.text(), evaluate(*node.children[i + 1]));
        }
        return dict;
      }
      case Kind::Attribute:
        return attribute(evaluate(*node.children[0]), node.name, node.line);
      case Kind::Item:
        return item(evaluate(*node.children[0]), evaluate(*node.children[1]), site(node));
      case Kind::Slice:
        return slice(node);
      case Kind::Call:
        return call(node);
      case Kind::Filter:
        return filter(node);
      case Kind::Test: {
        if (!node.keywords.empty()) throw at_line(node.line, "a test takes no keywords");
        List arguments;
        for (size_t i = 1; i < node.children.size(); ++i) arguments.push_back(evaluate(*node.children[i]));
        return apply_test(node.name, evaluate(*node.children[0]), arguments, site(node)) != node.negated;
      }
      case Kind::Not:
        return !truthy(evaluate(*node.children[0]));
      case Kind::Negate: {
        const Value value = evaluate(*node.children[0]);
        if (!value.is_number()) throw at_line(node.line, "cannot negate a " + type_name(value));
        if (!value.is_whole()) return -as_number(value);
        return whole_arithmetic('-', 0, as_int(value), node.line);
      }
      case Kind::And: {
        Value left = evaluate(*node.children[0]);
        return truthy(left) ? evaluate(*node.children[1]) : left;
      }
      case Kind::Or: {
        Value left = evaluate(*node.children[0]);
        return truthy(left) ? left : evaluate(*node.children[1]);
      }
      case Kind::Conditional:
        if (truthy(evaluate(*node.children[0]))) return evaluate(*node.children[1]);
        return node.children[2] ? evaluate(*node.children[2]) : Value();
      case Kind::Compare:
        return compare(node);
      case Kind::Binary:
        return binary(node);
      default:
        throw at_line(node.line, "a statement stands where a value should");
    }
  }

  static Value item(const Value& object, const Value& index, const Site& where) {
    if (object.list() != nullptr && index.is_int()) {
      const auto n = static_cast<int64_t>(object.list()->size());
      int64_t at = std::get<int64_t>(index.data);
      if (at < 0) at += n;
      return at >= 0 && at < n ? (*object.list())[static_cast<size_t>(at)] : Value();
    }
    if (object.text() != nullptr && index.is_int()) {
      return item(Value(items_of(object, where)), index, where);
    }
    return index.text() != nullptr ? attribute(object, *index.text(), where.line) : Value();
  }

  Value slice(const Node& node) {
    const Value object = evaluate(*node.children[0]);
    const List items = items_of(object, site(node));
    const auto n = static_cast<int64_t>(items.size());
    const auto part = [&](size_t i) -> std::optional<int64_t> {
      if (!node.children[i]) return std::nullopt;
      const Value value = evaluate(*node.children[i]);
      if (value.is_none()) return std::nullopt;
      if (!value.is_int()) throw at_line(node.line, "a slice needs whole numbers");
      return std::get<int64_t>(value.data);
    };
    const int64_t stride = std::clamp(part(3).value_or(1), -n - 1, n + 1);  // further steps end the same way
    if (stride == 0) throw at_line(node.line, "a slice cannot step by 0");
    const auto bound = [&](std::optional<int64_t> given, int64_t fallback) {
      if (!given) return fallback;
      const int64_t at = *given < 0 ? *given + n : *given;
      return std::clamp<int64_t>(at, stride > 0 ? 0 : -1, stride > 0 ? n : n - 1);
    };
    const int64_t begin = bound(part(1), stride > 0 ? 0 : n - 1), end = bound(part(2), stride > 0 ? n : -1);
    List out;
    out.tuple = object.list() != nullptr && object.list()->tuple;
    for (int64_t i = begin; stride > 0 ? i < end : i > end; i += stride) out.push_back(items[static_cast<size_t>(i)]);
    if (object.text() == nullptr) return out;
    std::string text;
    for (const Value& letter : out) text += *letter.text();
    return text;
  }

  Value call(const Node& node) {
    List arguments;
    Arguments keywords;
    for (size_t i = 1; i < node.children.size(); ++i) arguments.push_back(evaluate(*node.children[i]));
    for (const auto& [name, value] : node.keywords) keywords[name] = evaluate(*value);
    const Node& target = *node.children[0];
    if (target.kind == Kind::Attribute) {
      const Value object = evaluate(*target.children[0]);
      const Value* member = object.dict() != nullptr ? find(*object.dict(), target.name) : nullptr;
      if (member == nullptr || member->function() == nullptr)
        return call_method(object, target.name, arguments, keywords, site(node));
      return (*member->function())(arguments, keywords);
    }
    const Value callee = evaluate(target);
    if (callee.function() == nullptr) throw at_line(node.line, "`" + printable(target.name) + "` cannot be called");
    return (*callee.function())(arguments, keywords);
  }

  Value filter(const Node& node) {
    List arguments;
    Arguments keywords;
    for (size_t i = 1; i < node.children.size(); ++i) arguments.push_back(evaluate(*node.children[i]));
    for (const auto& [name, value] : node.keywords) keywords[name] = evaluate(*value);
    return apply_filter(node.name, evaluate(*node.children[0]), arguments, keywords, site(node));
  }

  Value compare(const Node& node) {
    const Value left = evaluate(*node.children[0]), right = evaluate(*node.children[1]);
    const Site here = site(node);
    if (node.name == "in") return contains(right, left, here) != node.negated;
    if (node.name == "==") return equal(left, right, steps_left_);
    if (node.name == "!=") return !equal(left, right, steps_left_);
    if (node.name == "<") return less(left, right, here);
    if (node.name == ">") return less(right, left, here);
    return node.name == "<=" ? !less(right, left, here) : !less(left, right, here);
  }

  Value binary(const Node& node) {
    const Value left = evaluate(*node.children[0]), right = evaluate(*node.children[1]);
    const std::string& op = node.name;
    if (op == "~" || (op == "+" && left.text() != nullptr && right.text() != nullptr)) {
      std::string both = to_text(left);
      append(both, to_text(right));
      return both;
    }
    if (op == "+" && left.list() != nullptr && right.list() != nullptr) {
      if (left.list()->size() + right.list()->size() > kMostItems) throw at_line(node.line, "a list grows too long");
      List both = *left.list();
      both.insert(both.end(), right.list()->begin(), right.list()->end());
      return both;
    }
    if (op == "*" && left.text() != nullptr && right.is_int()) {
      std::string out;
      if (!left.text()->empty())
        for (int64_t i = std::get<int64_t>(right.data); i > 0; --i) append(out, *left.text());
      return out;
    }
    if (!left.is_number() || !right.is_number())
      throw at_line(node.line, "cannot apply `" + op + "` to a " + type_name(left) + " and a " + type_name(right));
    return arithmetic(op, left, right, node.line);
  }

  static Value arithmetic(const std::string& op, const Value& left, const Value& right, int line) {
    const double a = as_number(left), b = as_number(right);
    if ((op == "/" || op == "//" || op == "%") && b == 0.0) throw at_line(line, "division by zero");
    if (left.is_whole() && right.is_whole() && op != "/")
      return whole_arithmetic(op[0], as_int(left), as_int(right), line);
    double result = 0.0;
    if (op == "+")
      result = a + b;
    else if (op == "-")
      result = a - b;
    else if (op == "*")
      result = a * b;
    else if (op == "/")
      result = a / b;
    else if (op == "//")
      result = std::floor(a / b);
    else
      result = a - b * std::floor(a / b);
    return result;
  }

  // `/` stands for `//` here.
  static Value whole_arithmetic(char op, int64_t a, int64_t b, int line) {
    int64_t result = 0;
    bool overflows = false;
    if (op == '+')
      overflows = __builtin_add_overflow(a, b, &result);
    else if (op == '-')
      overflows = __builtin_sub_overflow(a, b, &result);
    else if (op == '*')
      overflows = __builtin_mul_overflow(a, b, &result);
    else if (b == -1)  // the least number divided by it does not fit
      overflows = op == '/' && __builtin_sub_overflow(int64_t{0}, a, &result);
    else if (op == '/')
      result = a / b - (a % b != 0 && (a < 0) != (b < 0));
    else
      result = a % b + (a % b != 0 && (a < 0) != (b < 0) ? b : 0);
    if (overflows) throw at_line(line, "a whole number grows too large");
    return result;
  }

  Limits limits_;
  int64_t steps_left_;
  int depth_ = 0;
  std::vector<Dict> scopes_;
  std::string output_;
};

}  // namespace

std::string render(const Node& program, const Dict& globals, const Limits& limits) {
  return Interpreter(globals, limits).run(program);
}

}  // namespace attar::jinja
