// JSON Schema as a grammar of the JSON that it allows. Source: JSON Schema 2020-12, Core and Validation; README.md
// lists what is read. What is written is always valid under the schema; where the schema leaves open what a writer
// should not choose (the order of properties, keys that it does not name), less than all that is valid is allowed.
#pragma once

#include <string>

#include "runtime/text/grammar/rules.h"

namespace attar::runtime {

// Error{Usage} naming `where` and the JSON pointer of the place: no JSON, a keyword that cannot be honoured, a value
// that a keyword cannot have, a schema that allows nothing, a $ref to nothing.
Rules parse_json_schema(const std::string& text, const std::string& where);

}  // namespace attar::runtime
