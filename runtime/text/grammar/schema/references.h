// What a $ref names.
#pragma once

#include <map>

#include "runtime/text/grammar/schema/schema_node.h"

namespace attar::runtime {

// Of one schema, whose root must outlive it. Each $ref is looked for once: that takes as long as there are names.
class References {
 public:
  explicit References(const SchemaNode& root) : root_(root) {}

  // Error{Usage} at `node`: its $ref is no JSON pointer into the same schema, or nothing is there.
  const SchemaNode& of(const SchemaNode& node);

 private:
  const SchemaNode& root_;
  std::map<const SchemaJson*, SchemaNode> found_{};
};

}  // namespace attar::runtime
