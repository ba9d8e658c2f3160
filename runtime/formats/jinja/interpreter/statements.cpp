// Statements, and `render`.
#include <algorithm>
#include <utility>

#include "runtime/formats/jinja/interpreter/eval.h"
#include "runtime/formats/jinja/interpreter/interpreter.h"
#include "runtime/formats/jinja/values/print.h"

namespace attar::jinja {

Interpreter::Interpreter(const Dict& globals, const Limits& limits) : limits_(limits), steps_left_(limits.steps) {
  Dict known;
  add_globals(known, spaces_);
  top_ = std::make_shared<Scope>();
  for (const Dict* names : {&std::as_const(known), &globals})
    for (const auto& [name, value] : *names) top_->variables.emplace_back(name.text()->bytes, value);
  std::reverse(top_->variables.begin(), top_->variables.end());  // what is given hides what is known
  top_ = std::make_shared<Scope>(Scope{{}, top_});
  scope_ = top_;
}

Interpreter::~Interpreter() {
  for (const auto& space : spaces_) space->attributes.clear();
  for (const auto& scope : closures_) scope->variables.clear();
}

Interpreter::Step::Step(Interpreter& i, const Node& node) : interpreter(i) {
  i.line_ = node.line;
  i.site(node).charge(1);
  if (i.depth_ >= i.limits_.depth) throw at_line(node.line, "the template nests too deeply");
  ++i.depth_;
}

Interpreter::Inside::Inside(Interpreter& i, std::shared_ptr<Scope> outer) : interpreter(i), before(i.scope_) {
  i.scope_ = std::make_shared<Scope>(Scope{{}, std::move(outer)});
}

Text Interpreter::run(const Node& program) {
  try {
    execute(program);
  } catch (const Error& error) {
    if (error.parts().where != "chat template") throw;
    Error::Parts parts = error.parts();  // of code that does not know the line
    parts.where += ", line " + std::to_string(line_);
    throw Error(error.kind(), std::move(parts));
  }
  return std::move(output_);
}

void Interpreter::write(TextView text, const Node& node) {
  site(node).charge(text.size() / 32);
  output_.append(text);
}

Interpreter::Flow Interpreter::execute(const Node& node) {
  const Step step(*this, node);
  switch (node.kind) {
    case Kind::Body:
      for (const NodePtr& child : node.children)
        if (const Flow flow = execute(*child); flow != Flow::Next) return flow;
      return Flow::Next;
    case Kind::Text:
      write(node.name, node);
      return Flow::Next;
    case Kind::Output: {
      const auto text = to_text(evaluate(*node.children[0]));
      write(*text, node);
      return Flow::Next;
    }
    case Kind::If:
      if (truthy(evaluate(*node.children[0]))) return execute(*node.children[1]);
      return node.children.size() > 2 ? execute(*node.children[2]) : Flow::Next;
    case Kind::For:
      loop(node, evaluate(*node.children[1]), 0);
      return Flow::Next;
    case Kind::Set:
      assign(*node.children[0], evaluate(*node.children[1]));
      return Flow::Next;
    case Kind::Macro:
      define(node.name, macro(node));
      return Flow::Next;
    case Kind::Break:
      return Flow::Break;
    case Kind::Continue:
      return Flow::Continue;
    default:
      return execute_block(node);
  }
}

Interpreter::Flow Interpreter::execute_block(const Node& node) {
  switch (node.kind) {
    case Kind::SetBlock:
      assign(*node.children[0], filtered_block(*node.children[1], *node.children[2]));
      break;
    case Kind::FilterBlock:
      write(filtered_block(*node.children[0], *node.children[1]), node);
      break;
    case Kind::With:
      with(node);
      break;
    case Kind::CallBlock: {
      const Value caller = macro(*node.children[1]);
      const auto text = to_text(call(*node.children[0], &caller));
      write(*text, node);
      break;
    }
    case Kind::Generation: {
      Text inner = captured(*node.children[0]);
      inner.mark_all(kGenerated);
      write(inner, node);
      break;
    }
    case Kind::Scope: {
      const Inside inside(*this, top_);
      return execute(*node.children[0]);
    }
    default:
      throw at_line(node.line, "a value stands where a statement should");
  }
  return Flow::Next;
}

Interpreter::Flow Interpreter::execute_inside(const Node& body) {
  const Inside inside(*this);
  return execute(body);
}

Text Interpreter::captured(const Node& body) {
  Text before = std::exchange(output_, Text{});
  execute_inside(body);
  return std::exchange(output_, std::move(before));
}

Text Interpreter::filtered_block(const Node& body, const Node& chain) {
  given_.emplace_back(captured(body));
  Text out = *to_text(evaluate(chain));
  given_.pop_back();
  return out;
}

void Interpreter::define(const std::string& name, Value value) {
  for (auto& variable : scope_->variables)
    if (variable.first == name) return void(variable.second = std::move(value));
  scope_->variables.emplace_back(name, std::move(value));
}

void Interpreter::assign(const Node& target, const Value& value) {
  if (target.kind == Kind::Name) return define(target.name, value);
  if (target.kind == Kind::Attribute) {
    const Value space = evaluate(*target.children[0]);
    if (space.space() == nullptr)
      throw at_line(target.line, "`" + printable(target.children[0]->name) + "` is no namespace");
    return space.space()->attributes.assign(Value(target.name), value);
  }
  const List parts = items_of(value, site(target));
  if (value.is_undefined() || parts.size() != target.children.size())
    throw at_line(target.line, "there are " + std::to_string(parts.size()) + " parts for " +
                                   std::to_string(target.children.size()) + " variables");
  for (size_t i = 0; i < parts.size(); ++i) assign(*target.children[i], parts[i]);
}

void Interpreter::with(const Node& node) {
  std::vector<Value> values;  // all are worked out before any name holds
  for (size_t i = 0; i + 1 < node.children.size(); i += 2) values.push_back(evaluate(*node.children[i + 1]));
  const Inside inside(*this);
  for (size_t i = 0; i < values.size(); ++i) assign(*node.children[2 * i], values[i]);
  execute(*node.children.back());
}

// The items of a loop that its `if` keeps.
List Interpreter::chosen(const Node& node, const Value& items) {
  List all = items_of(items, site(node));
  if (!node.children[2]) return all;
  List kept;
  for (const Value& item : all) {
    const Inside inside(*this);
    assign(*node.children[0], item);
    if (truthy(evaluate(*node.children[2]))) kept.push_back(item);
  }
  return kept;
}

void Interpreter::loop(const Node& node, const Value& items, int nesting) {
  const auto state = std::make_shared<Loop>();
  state->items = chosen(node, items);
  state->nesting = nesting;
  const struct Emptied {  // it may be kept by what it holds
    ~Emptied() { loop = {}; }
    Loop& loop;
  } emptied{*state};
  if (node.recursive)
    state->recurse = {"loop", [this, &node, nesting, closure = scope_](const Call& call) -> Value {
                        if (call.positional.size() != 1) throw at_line(call.site.line, "loop() needs one list");
                        const Inside inside(*this, closure);
                        Text before = std::exchange(output_, Text{});
                        loop(node, call[0], nesting + 1);
                        return std::exchange(output_, std::move(before));
                      }};
  if (state->items.empty() && node.children.size() > 4) execute_inside(*node.children[4]);
  Flow flow = Flow::Next;
  for (; state->at < state->items.size() && flow != Flow::Break; ++state->at) {
    const Inside inside(*this);
    define("loop", state);
    assign(*node.children[0], state->items[state->at]);
    flow = execute(*node.children[3]);
  }
}

Value Interpreter::macro(const Node& node) {
  site(node).charge(8);  // its scope stays
  if (closures_.empty() || closures_.back() != scope_) closures_.push_back(scope_);
  const Node* definition = &node;
  const std::shared_ptr<Scope> closure = scope_;
  return Function{node.name, [this, definition, closure](const Call& call) -> Value {
                    return call_macro(*definition, closure, call);
                  }};
}

Text Interpreter::call_macro(const Node& node, const std::shared_ptr<Scope>& closure, const Call& call) {
  const Step step(*this, node);
  const Inside inside(*this, closure);
  bind_parameters(node, call);
  return captured(*node.children[0]);
}

void Interpreter::bind_parameters(const Node& node, const Call& call) {
  const auto wrong = [&] {
    return at_line(call.site.line, "the macro `" + printable(node.name) + "` has no such argument");
  };
  List more;
  more.shape = Shape::Tuple;
  for (size_t i = node.keywords.size(); i < call.positional.size(); ++i) more.push_back(call[i]);
  if (!more.empty() && !node.takes_more) throw wrong();
  Dict names;
  Value caller;
  for (const auto& [name, value] : call.named) {
    const auto is_it = [&name = name](const auto& parameter) { return parameter.first == name.bytes; };
    const auto at = std::find_if(node.keywords.begin(), node.keywords.end(), is_it) - node.keywords.begin();
    if (at < static_cast<std::ptrdiff_t>(std::min(call.positional.size(), node.keywords.size()))) throw wrong();
    if (at < static_cast<std::ptrdiff_t>(node.keywords.size())) continue;
    if (name.bytes == "caller" && node.takes_caller)
      caller = value;
    else if (node.takes_names && name.bytes != "caller")
      names.assign(Value(name), value);
    else
      throw wrong();
  }
  for (size_t i = 0; i < node.keywords.size(); ++i) {
    const auto& [name, fallback] = node.keywords[i];
    const Value* given = i < call.positional.size() ? &call[i] : call.keyword(name);
    define(name, given != nullptr ? *given : fallback ? evaluate(*fallback) : Value());
  }
  if (node.takes_caller) define("caller", caller);
  if (node.takes_more) define("varargs", std::move(more));
  if (node.takes_names) define("kwargs", std::move(names));
}

Text render(const Program& program, const Dict& globals, const Limits& limits) {
  return Interpreter(globals, limits).run(*program.root);
}

}  // namespace attar::jinja
