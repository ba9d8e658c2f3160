// How deep the brackets of a JSON text nest: parsed values copy and free themselves by recursion, which deep ones would
// drive off the stack. No JSON type is asked for.
#pragma once

#include <string_view>

namespace attar {

// Whether brackets outside of strings nest more than `depth` deep.
bool json_is_deeper_than(std::string_view text, int depth);

}  // namespace attar
