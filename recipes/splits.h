// The three splits of a recipe's data. They stay apart: what shares a run of 13 words with the evaluation text is
// dropped from training and calibration, and counted.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "compress/token_dataset.h"
#include "recipes/recipe.h"
#include "runtime/formats/text_file.h"
#include "runtime/formats/tokenizer.h"

namespace attar {

// `file` of a recipe, seen from the recipe's own folder.
std::string recipe_relative(const Recipe& recipe, const std::string& file);

std::vector<Document> evaluation_documents(const Recipe& recipe);

// Runs of 13 words of the evaluation text, lower case, punctuation dropped, as hashes.
class EvaluationText {
 public:
  explicit EvaluationText(const std::vector<Document>& documents);
  bool overlaps(const std::string& text) const;

 private:
  std::vector<uint64_t> runs_;  // sorted
};

// Drops documents whose decoded text overlaps; returns how many.
int64_t drop_overlapping(TokenDataset& dataset, const Tokenizer& tokenizer, const EvaluationText& evaluation);

}  // namespace attar
