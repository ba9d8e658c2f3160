// What a split of the data follows from: the teacher that writes it, every option that decides its text, the contents
// of all files.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "compress/token_dataset.h"
#include "recipes/schema/inputs.h"
#include "recipes/schema/recipe.h"

namespace attar {

struct SplitMaking {
  const std::vector<DataSource>& sources;
  uint64_t number = 0;             // keys its draws
  std::string teacher_hash{};      // of the recipe's
  std::string text_before_hash{};  // of the split made before, which this one shares no text with
};

// Without text_hash, which is known once the split is there.
DatasetOrigin origin_of_split(const Recipe& recipe, const RecipeInputs& inputs, const SplitMaking& split);

}  // namespace attar
