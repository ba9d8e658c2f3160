// The recipes that come with Attar: found by their names, from any folder.
#pragma once

#include <string>
#include <vector>

#include "runtime/base/progress.h"

namespace attar {

struct LibraryRecipe {
  std::string name;   // "tiny"
  std::string path;   // of the file
  std::string about;  // its `about`
};
// Error{Usage}: there is no library beside the program.
std::vector<LibraryRecipe> library_recipes();

// recipe.schema.json beside the library, by which editors check recipes; "": there is none.
std::string schema_file();

// The file that `given` means: a path, or the name of a recipe of the library. Error{Usage} with the nearest name.
std::string recipe_file(const std::string& given);

// Copies a recipe to `to`, and beside it the files that it reads, where a path of it is a relative one; -> what was
// written. A file that is there already and holds something else, and a path that leads out of the recipe's folder, are
// Error{Usage}, before anything is written.
std::vector<std::string> copy_recipe(const std::string& given, const std::string& to, const Progress& progress = {});

}  // namespace attar
