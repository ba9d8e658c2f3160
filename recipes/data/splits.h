// The three splits of a recipe's data. They stay apart: what shares a run of 13 words with the evaluation text is
// dropped from training and calibration, what shares one with the training text from calibration; both are counted.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "compress/token_dataset.h"
#include "recipes/data/endpoint_writes.h"
#include "recipes/data/near_duplicates.h"
#include "recipes/schema/recipe.h"
#include "runtime/formats/text_file.h"
#include "runtime/formats/tokenizer/tokenizer.h"

namespace attar {

std::vector<Document> evaluation_documents(const Recipe& recipe);

// Runs of 13 words of a text, in small letters and without punctuation, in any script that writes spaces, as hashes.
class WordRuns {
 public:
  WordRuns() = default;
  explicit WordRuns(std::vector<uint64_t> runs);
  bool shares_one_with(const std::string& text) const;

 private:
  std::vector<uint64_t> runs_;  // sorted
};
WordRuns runs_of(const std::vector<Document>& documents);
// Of the text that is learned from: a chat's frame and system prompt are the same in every document.
WordRuns runs_of_learned_text(const TokenDataset& dataset, const Tokenizer& tokenizer);

// What other splits hold, how many documents were dropped for it, and what endpoints wrote.
struct Splits {
  WordRuns evaluation{}, train{};
  int64_t in_evaluation = 0, in_train = 0;
  NearDuplicates near_duplicates{};
  std::vector<EndpointRecord> endpoints{};
};
void drop_overlapping(TokenDataset& dataset, const Tokenizer& tokenizer, Splits& splits);

// Documents of `dataset`, drawn by (seed, stream), until they hold `tokens`, in the order that they have there; without
// the teacher's signal.
TokenDataset drawn_tokens(const TokenDataset& dataset, int64_t tokens, uint64_t seed, uint64_t stream);

// `dataset` as if the recipe named its text `weight` times: the whole number of times over, then as many documents,
// drawn by (seed, stream), as round to that weight; at least one.
TokenDataset weighted(TokenDataset dataset, double weight, uint64_t seed, uint64_t stream);

}  // namespace attar
