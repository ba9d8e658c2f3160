// What no key of a recipe can know by itself: data that stages need, an order that cannot work, splits that share a
// file.
#pragma once

#include <functional>
#include <string>

#include "recipes/schema/recipe.h"

namespace attar {

// `tell` is called with the key of each problem ("stages.1", "data.train.0") and what is wrong there.
using TellProblem = std::function<void(const std::string& key, const std::string& what)>;
void check_recipe(const Recipe& recipe, const TellProblem& tell);

}  // namespace attar
