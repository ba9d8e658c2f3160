#include "runtime/formats/jinja_eval.h"

#include <algorithm>
#include <cmath>
#include <optional>

#include "runtime/base/error.h"
#include "runtime/formats/unicode.h"

namespace attar::jinja {
namespace {

Error at_line(int line, const std::string& what) {
  return input_error("chat template, line " + std::to_string(line), what);
}

enum class Flow { Next, Break, Continue };

class Interpreter {
 public:
  Interpreter(const Dict& globals, const Limits& limits) : limits_(limits) { scopes_.push_back(globals); }

  std::string run(const Node& program) {
    execute(program);
    return std::move(output_);
  }

 private:
  struct Step {  // counts work and depth
    Step(Interpreter& i, const Node& node) : interpreter(i) {
      if (++i.steps_ > i.limits_.steps) throw at_line(node.line, "the template takes too many steps");
      if (++i.depth_ > i.limits_.depth) throw at_line(node.line, "the template nests too deeply");
    }
    ~Step() { --interpreter.depth_; }
    Interpreter& interpreter;
  };

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
    steps_ += count_values(value, limits_.steps - steps_);
    if (reaches(value, space.dict())) throw at_line(node.line, "a namespace cannot hold itself");
    assign(*space.dict(), node.targets[0], std::move(value));
  }

  List items_of(const Value& value, int line) { return *apply_filter("list", value, {}, {}, line).list(); }

  void bind(const Node& node, const Value& item, Dict& scope) {
    if (node.targets.size() == 1) return assign(scope, node.targets[0], item);
    const List* parts = item.list();
    if (parts == nullptr || parts->size() != node.targets.size())
      throw at_line(node.line,
                    "the items of the loop do not come in " + std::to_string(node.targets.size()) + " parts");
    for (size_t i = 0; i < parts->size(); ++i) assign(scope, node.targets[i], (*parts)[i]);
  }

  void loop(const Node& node) {
    List items = items_of(evaluate(*node.children[0]), node.line);
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
    const Node* definition = &node;
    return Value(Function([this, definition](const List& arguments, const Arguments& keywords) {
      Dict scope;
      for (size_t i = 0; i < definition->targets.size(); ++i) {
        const std::string& name = definition->targets[i];
        const NodePtr& fallback = definition->keywords[i].second;
        const auto given = keywords.find(name);
        if (i < arguments.size())
          assign(scope, name, arguments[i]);
        else if (given != keywords.end())
          assign(scope, name, given->second);
        else
          assign(scope, name, fallback ? evaluate(*fallback) : Value());
      }
      std::vector<Dict> outside;  // a macro sees globals and its own arguments
      outside.swap(scopes_);
      scopes_.push_back(outside.front());
      scopes_.push_back(std::move(scope));
      std::string text = captured(*definition->children[0]);
      scopes_.swap(outside);
      return Value(std::move(text));
    }));
  }

  // Long texts and lists count as many steps, so that what a template may cost is bounded however it is written.
  Value evaluate(const Node& node) {
    const Step step(*this, node);
    Value value = compute(node);
    if (const std::string* text = value.text()) steps_ += static_cast<int64_t>(text->size() / 256);
    if (const List* list = value.list()) {
      steps_ += static_cast<int64_t>(list->size() / 16);
      if (list->size() > kMostItems) throw at_line(node.line, "a list grows too long");
    }
    if (node.kind == Kind::ListLiteral || node.kind == Kind::DictLiteral || node.kind == Kind::Call)
      steps_ += count_values(value, limits_.steps - steps_);
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
        for (const NodePtr& child : node.children) list.push_back(evaluate(*child));
        return list;
      }
      case Kind::DictLiteral: {
        Dict dict;
        for (size_t i = 0; i < node.children.size(); i += 2)
          assign(dict, to_text(evaluate(*node.children[i])), evaluate(*node.children[i + 1]));
        return dict;
      }
      case Kind::Attribute:
        return attribute(evaluate(*node.children[0]), node.name, node.line);
      case Kind::Item:
        return item(evaluate(*node.children[0]), evaluate(*node.children[1]), node.line);
      case Kind::Slice:
        return slice(node);
      case Kind::Call:
        return call(node);
      case Kind::Filter:
        return filter(node);
      case Kind::Test: {
        List arguments;
        for (size_t i = 1; i < node.children.size(); ++i) arguments.push_back(evaluate(*node.children[i]));
        return apply_test(node.name, evaluate(*node.children[0]), arguments, node.line) != node.negated;
      }
      case Kind::Not:
        return !truthy(evaluate(*node.children[0]));
      case Kind::Negate: {
        const Value value = evaluate(*node.children[0]);
        if (!value.is_number()) throw at_line(node.line, "cannot negate a " + type_name(value));
        if (!value.is_int()) return Value(-as_number(value));
        return Value(static_cast<int64_t>(0 - static_cast<uint64_t>(std::get<int64_t>(value.data))));
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

  static Value attribute(const Value& object, const std::string& name, int line) {
    if (object.dict() != nullptr) {
      const Value* found = find(*object.dict(), name);
      return found != nullptr ? *found : Value();
    }
    if (object.is_undefined()) throw at_line(line, "`" + printable(name) + "` of something undefined");
    return {};
  }

  static Value item(const Value& object, const Value& index, int line) {
    if (object.list() != nullptr && index.is_int()) {
      const auto n = static_cast<int64_t>(object.list()->size());
      int64_t at = std::get<int64_t>(index.data);
      if (at < 0) at += n;
      return at >= 0 && at < n ? (*object.list())[static_cast<size_t>(at)] : Value();
    }
    if (object.text() != nullptr && index.is_int()) {
      const List letters = *apply_filter("list", object, {}, {}, line).list();
      return item(Value(letters), index, line);
    }
    return index.text() != nullptr ? attribute(object, *index.text(), line) : Value();
  }

  Value slice(const Node& node) {
    const Value object = evaluate(*node.children[0]);
    const List items = items_of(object, node.line);
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
        return call_method(object, target.name, arguments, node.line);
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
    return apply_filter(node.name, evaluate(*node.children[0]), arguments, keywords, node.line);
  }

  Value compare(const Node& node) {
    const Value left = evaluate(*node.children[0]), right = evaluate(*node.children[1]);
    if (node.name == "in") return contains(right, left, node.line) != node.negated;
    if (node.name == "==") return equal(left, right);
    if (node.name == "!=") return !equal(left, right);
    if (node.name == "<") return less(left, right, node.line);
    if (node.name == ">") return less(right, left, node.line);
    return node.name == "<=" ? !less(right, left, node.line) : !less(left, right, node.line);
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
    const bool whole =
        !std::holds_alternative<double>(left.data) && !std::holds_alternative<double>(right.data) && op != "/";
    if ((op == "/" || op == "//" || op == "%") && b == 0.0) throw at_line(line, "division by zero");
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
    return whole && std::fabs(result) < 9e15 ? Value(static_cast<int64_t>(result)) : Value(result);
  }

  Limits limits_;
  int64_t steps_ = 0;
  int depth_ = 0;
  std::vector<Dict> scopes_;
  std::string output_;
};

}  // namespace

std::string render(const Node& program, const Dict& globals, const Limits& limits) {
  return Interpreter(globals, limits).run(program);
}

}  // namespace attar::jinja
