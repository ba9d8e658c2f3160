// Template source -> syntax tree. Grammar: jinja2's, the part that chat templates use; trim_blocks and lstrip_blocks
// on.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "runtime/formats/jinja/values/value.h"

namespace attar::jinja {

struct Node;
using NodePtr = std::unique_ptr<Node>;

// In brackets what a node's children are; `x?` may be null.
enum class Kind {
  // expressions
  Literal,
  Name,
  ListLiteral,  // [items...]; name: "tuple" or none
  DictLiteral,  // [key, value, ...]
  Attribute,    // [object]
  Item,         // [object, index]
  Slice,        // [object, begin?, end?, step?]
  Call,         // [callee, arguments...]
  Filter,       // [value, arguments...]
  Test,         // [value, arguments...]
  Spread,       // [list] among arguments; name: "*" or "**"
  Given,        // the text that a {% filter %} or {% set | ... %} block wrote
  Not,          // [value], as Negate and Plus
  Negate,
  Plus,
  Binary,   // [left, right]
  Compare,  // [first, second, ...]; words: the operators between them
  And,      // [left, right], as Or
  Or,
  Conditional,  // [condition, then, else?]
  // statements
  Text,
  Output,       // [value]
  If,           // [condition, then, else?]
  For,          // [target, items, condition?, body, else?]
  Set,          // [target, value]
  SetBlock,     // [target, body, filtered]
  FilterBlock,  // [body, filtered]
  With,         // [target, value, ..., body]
  Macro,        // [body]
  CallBlock,    // [call, macro]
  Generation,   // [body], as Scope
  Scope,        // a {% block %}
  Break,
  Continue,
  Body,
};

struct Node {
  Kind kind;
  int line = 0;
  int height = 0;    // of the tree below
  std::string name;  // variable, attribute, filter, test, operator, text
  Value literal;     // Literal
  std::vector<NodePtr> children;
  std::vector<std::pair<std::string, NodePtr>> keywords;  // of calls; of macros: parameters and their defaults
  std::vector<std::string> words;                         // operators of a comparison
  bool negated = false;                                   // "is not"
  bool recursive = false;                                 // a loop that can call itself
  bool takes_more = false, takes_names = false, takes_caller = false;  // macros: varargs, kwargs, caller are used
};

struct Program {
  NodePtr root;
  bool marks_generation = false;  // has {% generation %}
};

// Error{Input} with the line of a syntax error.
Program parse(const std::string& source);

}  // namespace attar::jinja
