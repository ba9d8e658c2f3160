// `key.path=value` on the command line: a recipe's value, changed without touching its file.
#pragma once

#include <string>

namespace YAML {
class Node;
}

namespace attar {

// Sets the value in the document and returns its node. "stages.1.distill.tokens=1000", "stages.distill.tokens=1000"
// (the first distill stage), "seed=3". Throws Error{Usage} for what is no assignment or names no place.
YAML::Node apply_override(YAML::Node root, const std::string& assignment);

}  // namespace attar
