// "did you mean": what a user may have wanted to type.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "runtime/base/fields.h"

namespace attar {

// "; did you mean `drop_ffn`?" when one of `known` is near, else "; known keys: ..." with all of them.
// A name of before gets the one of now.
std::string suggestion(const std::string& word, const std::vector<std::string>& known,
                       std::span<const RenamedField> renamed = {});

}  // namespace attar
