// Expressions.
#include "runtime/formats/jinja/interpreter/interpreter.h"

namespace attar::jinja {

Value Interpreter::lookup(const std::string& name) const {
  for (const Scope* scope = scope_.get(); scope != nullptr; scope = scope->outer.get())
    for (const auto& variable : scope->variables)
      if (variable.first == name) return variable.second;
  return {};
}

// What is made is charged by its size, so that what a template may cost and hold is bounded however it is written.
Value Interpreter::evaluate(const Node& node) {
  const Step step(*this, node);
  Value value = compute(node);
  if (node.kind == Kind::Literal || node.kind == Kind::Name) return value;
  if (const Text* text = value.text()) site(node).charge(text->size() / 32);
  const bool taken = node.kind == Kind::Attribute || node.kind == Kind::Item || node.kind == Kind::Conditional;
  if (const List* list = value.list()) site(node).charge(list->size() * (taken ? 0 : 4));
  if (const Dict* dict = value.dict()) site(node).charge(dict->size() * (taken ? 0 : 4));
  return value;
}

Value Interpreter::compute(const Node& node) {
  const auto operand = [&](size_t i) { return evaluate(*node.children[i]); };
  switch (node.kind) {
    case Kind::Literal:
      return node.literal;
    case Kind::Name:
      return lookup(node.name);
    case Kind::Given:
      return given_.back();
    case Kind::ListLiteral:
      return list_of(node);
    case Kind::DictLiteral:
      return dict_of(node);
    case Kind::Attribute:
      return attribute(operand(0), node.name, site(node));
    case Kind::Item: {
      const Value object = operand(0);
      return item(object, operand(1), site(node));
    }
    case Kind::Slice:
      return slice_of(node);
    case Kind::Call:
      return call(node, nullptr);
    case Kind::Filter: {
      const Value value = operand(0);
      return apply_filter(node.name, value, arguments(node));
    }
    case Kind::Test: {
      const Value value = operand(0);
      return apply_test(node.name, value, arguments(node)) != node.negated;
    }
    case Kind::Not:
      return !truthy(operand(0));
    case Kind::Negate:
    case Kind::Plus:
      return signed_number(node);
    case Kind::And: {
      Value left = operand(0);
      return truthy(left) ? operand(1) : left;
    }
    case Kind::Or: {
      Value left = operand(0);
      return truthy(left) ? left : operand(1);
    }
    case Kind::Conditional:
      if (truthy(operand(0))) return operand(1);
      return node.children[2] ? operand(2) : Value();
    case Kind::Compare:
      return chain_holds(node);
    case Kind::Binary: {
      const Value left = operand(0);
      return binary(node.name, left, operand(1), site(node));
    }
    default:
      throw at_line(node.line, "a statement stands where a value should");
  }
}

Value Interpreter::list_of(const Node& node) {
  List list;
  if (node.name == "tuple") list.shape = Shape::Tuple;
  for (const NodePtr& child : node.children) list.push_back(evaluate(*child));
  return list;
}

Value Interpreter::dict_of(const Node& node) {
  Dict dict;
  for (size_t i = 0; i < node.children.size(); i += 2) {
    Value key = evaluate(*node.children[i]);
    dict.assign(std::move(key), evaluate(*node.children[i + 1]));
  }
  return dict;
}

Value Interpreter::slice_of(const Node& node) {
  const Value object = evaluate(*node.children[0]);
  Value parts[3];
  for (size_t i = 0; i < 3; ++i) parts[i] = node.children[i + 1] ? evaluate(*node.children[i + 1]) : Value(None{});
  return slice(object, parts, site(node));
}

Value Interpreter::signed_number(const Node& node) {
  const Value value = evaluate(*node.children[0]);
  if (!value.is_number()) throw at_line(node.line, "a " + type_name(value) + " has no sign");
  return binary(node.kind == Kind::Plus ? "+" : "-", value.is_whole() ? Value(0) : Value(-0.0), value, site(node));
}

bool Interpreter::chain_holds(const Node& node) {
  Value left = evaluate(*node.children[0]);
  for (size_t i = 0; i < node.words.size(); ++i) {
    Value right = evaluate(*node.children[i + 1]);
    if (!compare(node.words[i], left, right, site(node))) return false;
    left = std::move(right);
  }
  return true;
}

Value Interpreter::call(const Node& node, const Value* caller) {
  const Value callee = evaluate(*node.children[0]);
  Call given = arguments(node);
  if (caller != nullptr) given.named.emplace_back(std::string("caller"), *caller);
  const Function* function = callee.loop() != nullptr ? &callee.loop()->recurse : callee.function();
  if (function == nullptr || !function->body) {
    const std::string name = printable(node.children[0]->name);
    throw at_line(node.line, callee.is_undefined()
                                 ? "`" + name + "` is called, which is not defined or not supported"
                                 : "`" + name + "` is a " + type_name(callee) + " and cannot be called");
  }
  return function->body(given);
}

Call Interpreter::arguments(const Node& node) {
  Call out{{}, {}, site(node)};
  Dict spread;
  for (size_t i = 1; i < node.children.size(); ++i) {
    const Node& child = *node.children[i];
    if (child.kind != Kind::Spread) {
      out.positional.push_back(evaluate(child));
      continue;
    }
    const Value value = evaluate(*child.children[0]);
    if (child.name == "*") {
      const List items = items_of(value, site(child));
      out.positional.insert(out.positional.end(), items.begin(), items.end());
    } else if (value.dict() != nullptr) {
      for (const auto& [key, item] : *value.dict()) spread.assign(key, item);
    } else {
      throw at_line(child.line, "`**` needs a mapping, got a " + type_name(value));
    }
  }
  for (const auto& [name, value] : node.keywords) out.named.emplace_back(name, evaluate(*value));
  for (const auto& [key, item] : spread) {
    const Text& name = text_of(key, out.site);
    if (out.keyword(name.bytes) != nullptr) throw at_line(node.line, "an argument is given twice");
    out.named.emplace_back(name, item);
  }
  return out;
}

}  // namespace attar::jinja
