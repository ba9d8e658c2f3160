// Python's two ways to fill a text: `'%s' % x` and `'{}'.format(x)`.
#pragma once

#include "runtime/formats/jinja/values/value.h"

namespace attar::jinja {

// `values`: one value, a tuple of them, or a mapping for %(name)s.
Text percent_formatted(TextView pattern, const Value& values, const Site& site);
Text brace_formatted(TextView pattern, const Call& call);

}  // namespace attar::jinja
