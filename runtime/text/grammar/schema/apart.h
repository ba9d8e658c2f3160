// Whether alternatives exclude each other: what oneOf asks of the values, and a grammar can only promise beforehand.
#pragma once

#include "runtime/text/grammar/schema/schema_node.h"

namespace attar::runtime {

// Error{Usage} at `list`, schemas of a oneOf, naming two of which a value could be both: they have a type in common
// and no required property, or listed values, to tell them apart.
void require_apart(const SchemaNode& root, const SchemaNode& list);

}  // namespace attar::runtime
