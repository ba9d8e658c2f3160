// Template source -> syntax tree. Grammar: jinja2's, the part that chat templates use; trim_blocks and lstrip_blocks
// on.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "runtime/formats/jinja/jinja_value.h"

namespace attar::jinja {

struct Node;
using NodePtr = std::unique_ptr<Node>;

enum class Kind {
  // expressions
  Literal,
  Name,
  ListLiteral,
  DictLiteral,
  Attribute,
  Item,
  Slice,
  Call,
  Filter,
  Test,
  Not,
  Negate,
  Binary,
  Compare,
  And,
  Or,
  Conditional,
  // statements
  Text,
  Output,
  If,
  For,
  Set,
  SetBlock,
  Macro,
  Break,
  Continue,
  Body,
};

struct Node {
  Kind kind;
  int line = 0;
  int height = 0;    // of the chain of operands below
  std::string name;  // variable, attribute, filter, test, operator, text; of a list literal: "tuple" or none
  Value literal;     // Literal
  std::vector<NodePtr> children;  // operands, arguments, bodies; entries may be null
  std::vector<std::pair<std::string, NodePtr>>
      keywords;                      // of calls; defaults of macros; entries of dict literals have null names
  std::vector<std::string> targets;  // loop variables, macro parameters
  bool negated = false;              // "is not", "not in"
  bool grouped = false;              // in round brackets
};

// Error{Input} with the line of a syntax error.
NodePtr parse(const std::string& source);

}  // namespace attar::jinja
