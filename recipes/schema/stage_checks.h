// What a recipe's stages ask of its models: room for their sequences, tokens that both read, shapes that prune,
// quantize and a gate of bytes can have. And what looks at a recipe's inputs, this and `inputs`, keeps as it goes.
#pragma once

#include <string>
#include <vector>

#include "recipes/schema/inputs.h"
#include "runtime/base/error.h"

namespace attar {

// Collects what fails, each with its place.
class Looker {
 public:
  Looker(const Recipe& looked_at, LookAt look_at, const Progress& downloads)
      : recipe(looked_at), everything(look_at == LookAt::Everything), progress(downloads) {}

  void problem(const std::string& key, ProblemKind kind, const std::string& what) {
    problems.push_back({kind, place_of(recipe.places, key), what});
  }
  // Whether `work` went through. Who stops it is no problem of the recipe: Error{Interrupted} comes out.
  template <class Work>
  bool attempt(const std::string& key, Work&& work, const std::string& before = {}) {
    try {
      work();
      return true;
    } catch (const Error& error) {
      if (error.kind() == ErrorKind::Interrupted) throw;
      problem(key, error.kind() == ErrorKind::Usage ? ProblemKind::Whole : ProblemKind::Input, before + error.what());
      return false;
    }
  }

  const Recipe& recipe;
  const bool everything;
  const Progress& progress;
  std::vector<RecipeProblem> problems{};
  RecipeInputs inputs{};
  bool has_chats = false;
};

// Of models that are open: `look.inputs` holds their shapes, tokenizers and template.
void check_stages(Looker& look);

}  // namespace attar
