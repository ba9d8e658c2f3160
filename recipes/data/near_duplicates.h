// Documents that say nearly what an earlier one says, found without comparing every pair: MinHash signatures in bands
// (Broder 1997; Leskovec, Rajaraman, Ullman, "Mining of Massive Datasets", 3.4), then the exact Jaccard similarity of
// what meets in a band.
#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <vector>

#include "compress/token_dataset.h"
#include "runtime/base/host/thread_pool.h"
#include "runtime/base/progress.h"
#include "runtime/formats/tokenizer/tokenizer.h"

namespace attar {

// What is compared of a document. `said`: what is learned of it. `whole`: of a chat all of it too, so that neither two
// answers under one long system prompt are alike nor two questions with one short answer; "" where `said` is all.
struct ComparedText {
  std::string said, whole{};
};
using TextOf = std::function<ComparedText(size_t document)>;  // called from several threads at once

// The bands of a threshold: `rows` values each, at most kMinHashes in all, and as long as they may be while a pair that
// is just alike enough meets in one of them with a probability of 0.995.
constexpr int kMinHashes = 128;
struct Bands {
  int count = 0, rows = 0;
  double finds(double similarity) const;  // the probability that a pair meets
};
Bands bands_for(double threshold);

// (documents) true: its similarity to an earlier document that is false is at least `threshold`, 0 < threshold <= 1.
// Documents without a word are never. A function of the texts and their order alone. A pair that is just alike enough
// is missed once in two hundred times, and some in a crowd of documents that share bands and are not alike enough: of
// those none is compared with more than kMostCompared, those that it shares most bands with. Memory beside the texts: 4
// bytes a document and band.
constexpr size_t kMostCompared = 64;
std::vector<bool> near_duplicates(size_t documents, const TextOf& text_of, double threshold, ThreadPool& threads,
                                  const Progress& progress = {});
// The same by comparing every pair.
std::vector<bool> near_duplicates_reference(size_t documents, const TextOf& text_of, double threshold);

// How many documents there were, and how many of them were dropped. threshold 0: nobody looked.
struct NearDuplicates {
  double threshold = 0.0;
  int64_t dropped = 0, of = 0;
};
std::string near_duplicates_record(const NearDuplicates& found);  // {"threshold", "dropped", "of"}
NearDuplicates near_duplicates_of(const std::string& record);     // of "{}" nothing
std::string to_words(const NearDuplicates& found);  // "3 of 80 documents dropped as near-duplicates of one before them"

// Drops them from `parts`, which are read as one after the other.
NearDuplicates drop_near_duplicates(std::vector<TokenDataset>& parts, const Tokenizer& tokenizer, double threshold,
                                    int threads, const Progress& progress = {});

}  // namespace attar
