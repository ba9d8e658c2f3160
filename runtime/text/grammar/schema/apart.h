// Whether alternatives exclude each other: what oneOf asks of the values, and a grammar can only promise beforehand.
#pragma once

#include <cstdint>

#include "runtime/text/grammar/schema/references.h"
#include "runtime/text/grammar/schema/schema_node.h"

namespace attar::runtime {

// Error{Usage} at `list`, schemas of a oneOf, naming two of which a value could be both: they have a type in common
// and no required property, or listed values, to tell them apart. Or: to look takes too long; `work` is what all lists
// of the schema took so far, these schemas too.
void require_apart(References& references, const SchemaNode& list, uint64_t& work);

}  // namespace attar::runtime
