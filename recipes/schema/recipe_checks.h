// What no key of a recipe can know by itself: data that stages need, an order that cannot work, shapes that stages
// cannot go through, splits that share a file.
#pragma once

#include <functional>
#include <string>

#include "recipes/schema/recipe.h"

namespace YAML {
class Node;
}

namespace attar {

// `tell` is called with the place of each problem in the recipe's file, and what is wrong there.
using TellProblem = std::function<void(const YAML::Node& node, const std::string& what)>;
void check_recipe(const YAML::Node& root, const Recipe& recipe, const TellProblem& tell);

}  // namespace attar
