// The recipe that a run folder is bound to: what a resume goes on with.
#pragma once

#include <string>
#include <vector>

#include "recipes/run/run.h"
#include "recipes/schema/recipe.h"

namespace attar {

// Where a run's recipe came from, as its folder remembers it.
struct RecipeOrigin {
  std::string file{};    // absolute
  std::string sha256{};  // of the file
  std::vector<std::string> overrides{};
};
std::string origin_json(const RecipeOrigin& origin);
RecipeOrigin origin_of(const Recipe& recipe);

// The recipe that `given` means: a recipe file with its overrides or, with options.resume, the folder of a run, which
// knows both. With options.resume a file without overrides takes those that the
// folder's run began with; and where file and overrides are the same as then, the recipe is what the folder holds: a
// default that another version has changed stays as it was, a key that the folder does not know takes its default. Sets
// options.folder. Error{Usage}: a folder without `resume`, or one that holds no run.
Recipe recipe_to_run(const std::string& given, const std::vector<std::string>& overrides, RunOptions& options,
                     const Progress& progress = {});

// resolved.yaml of a run, written anew by this version: with the defaults of keys that it did not know.
std::string kept_resolved_yaml(const std::string& folder);

// Of two resolved recipes the keys that differ, with both values: "seed (7 before, 8 now), stages.1.distill.tokens
// (1000 before, 2000 now)"; "" where they are the same.
std::string differing_keys(const std::string& before, const std::string& now);

}  // namespace attar
