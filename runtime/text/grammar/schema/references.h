// What a $ref names.
#pragma once

#include "runtime/text/grammar/schema/schema_node.h"

namespace attar::runtime {

// Error{Usage} at `node`: its $ref is no JSON pointer into the same schema, or nothing is there.
SchemaNode referenced(const SchemaNode& root, const SchemaNode& node);

}  // namespace attar::runtime
