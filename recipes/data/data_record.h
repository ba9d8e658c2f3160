// What the report says of the texts: where they came from, how much of them there is, what was dropped.
#pragma once

#include <string>
#include <vector>

#include "compress/token_dataset.h"
#include "recipes/data/splits.h"

namespace attar {

// A split, as JSON: sources as the recipe names them, documents, tokens, what was dropped and why.
std::string split_record(const std::vector<DataSource>& sources, const TokenDataset& dataset, const Splits& splits);

// The evaluation text, counted in tokens of the teacher; "null" when the recipe has none.
std::string evaluation_record(const Recipe& recipe, const Tokenizer& tokenizer, const TextDataOptions& options);

}  // namespace attar
