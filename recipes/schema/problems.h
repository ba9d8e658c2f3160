// What is wrong with a recipe, each with its place in the file, and all at once.
#pragma once

#include <map>
#include <string>
#include <vector>

namespace attar {

// Where something stands: a line and column of the recipe's file, or an override of the command line.
struct RecipePlace {
  int line = 0, column = 0;  // from 1; 0: of the whole file
  std::string given{};       // "seed=3"
};
// By path of keys: "teacher", "data.train.0", "stages.2".
using RecipePlaces = std::map<std::string, RecipePlace>;
// Of `key`, or of the nearest key above it that has a place.
RecipePlace place_of(const RecipePlaces& places, std::string key);

enum class ProblemKind {
  Value,  // a key, a type, a range: what the JSON Schema of recipes says too
  Whole,  // what no key can know by itself
  Input,  // a file or model that the recipe names
};
struct RecipeProblem {
  ProblemKind kind;
  RecipePlace place;
  std::string what;
};

// Each "tiny.yaml:14:3: what", in the order of the file.
std::vector<std::string> problem_lines(const std::string& file, std::vector<RecipeProblem> problems);
// One line a problem: Error{Input} when files and models alone are wrong, else Error{Usage}. Nothing: returns.
void throw_problems(const std::string& file, const std::vector<RecipeProblem>& problems);

}  // namespace attar
