// "did you mean": what a user may have wanted to type.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "runtime/base/fields.h"

namespace attar {

// The one of `known` that `word` may have been meant for: what other programs call the same thing, a beginning of it,
// or few edits away; "" when none is near. `_` and `-` are one.
std::string nearest(const std::string& word, const std::vector<std::string>& known);

// "; did you mean `drop_ffn`?" when one of `known` is near, else "; known keys: ..." with all of them. A name of before
// gets the one of now.
std::string suggestion(const std::string& word, const std::vector<std::string>& known,
                       std::span<const RenamedField> renamed = {});

// "did you mean PATH?" with a file or folder that is there and has nearly this name, for a path that is not; else "".
std::string nearest_path(const std::string& path);

}  // namespace attar
