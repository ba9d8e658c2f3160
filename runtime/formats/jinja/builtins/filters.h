// The two tables of filters: of texts and single values, and of lists.
#pragma once

#include <span>

#include "runtime/formats/jinja/interpreter/eval.h"

namespace attar::jinja {

std::span<const Builtin> text_filters();
std::span<const Builtin> list_filters();

// "a.b.0" or 0: attributes of attributes, and places in lists; the value itself where `path` is undefined or none.
Value attribute_path(Value value, const Value& path, const Value& fallback, const Site& site);

}  // namespace attar::jinja
