// The interpreter's parts: statements.cpp, expressions.cpp and operators.cpp.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "runtime/formats/jinja/interpreter/eval.h"

namespace attar::jinja {

struct Scope {
  std::vector<std::pair<std::string, Value>> variables{};
  std::shared_ptr<Scope> outer{};
};

class Interpreter {
 public:
  Interpreter(const Dict& globals, const Limits& limits);
  ~Interpreter();
  Interpreter(const Interpreter&) = delete;
  Interpreter& operator=(const Interpreter&) = delete;

  Text run(const Node& program);  // once

 private:
  enum class Flow { Next, Break, Continue };
  struct Step {  // counts work and depth
    Step(Interpreter& i, const Node& node);
    ~Step() { --interpreter.depth_; }
    Interpreter& interpreter;
  };
  struct Inside {  // a scope of its own, while this lives
    Inside(Interpreter& i, std::shared_ptr<Scope> outer);
    explicit Inside(Interpreter& i) : Inside(i, i.scope_) {}
    ~Inside() { interpreter.scope_ = std::move(before); }
    Interpreter& interpreter;
    std::shared_ptr<Scope> before;
  };

  Site site(const Node& node) { return {node.line, steps_left_}; }

  Flow execute(const Node& node);
  void write(TextView text, const Node& node);
  Flow execute_inside(const Node& body);  // in a scope of its own
  Flow execute_block(const Node& node);
  Text captured(const Node& body);
  Text filtered_block(const Node& body, const Node& chain);
  void assign(const Node& target, const Value& value);
  void define(const std::string& name, Value value);
  void with(const Node& node);
  void loop(const Node& node, const Value& items, int nesting);
  List chosen(const Node& node, const Value& items);
  Value macro(const Node& node);
  Text call_macro(const Node& node, const std::shared_ptr<Scope>& closure, const Call& call);
  void bind_parameters(const Node& node, const Call& call);

  Value evaluate(const Node& node);
  Value compute(const Node& node);
  Value lookup(const std::string& name) const;
  Value list_of(const Node& node);
  Value dict_of(const Node& node);
  Value slice_of(const Node& node);
  Value signed_number(const Node& node);
  bool chain_holds(const Node& node);
  Value call(const Node& node, const Value* caller);
  Call arguments(const Node& node);  // those behind the first child

  Limits limits_;
  int64_t steps_left_;
  int depth_ = 0, line_ = 0;
  std::shared_ptr<Scope> scope_, top_;
  std::vector<Value> given_;  // what {% filter %} blocks wrote, the innermost last
  Text output_;
  // What can hold itself; emptied at the end.
  Spaces spaces_;
  std::vector<std::shared_ptr<Scope>> closures_;
};

}  // namespace attar::jinja
