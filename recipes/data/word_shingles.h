// What two texts have in common, as sets of word shingles: every run of a few words, whatever its case and punctuation
// (Broder 1997, "On the resemblance and containment of documents").
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace attar {

constexpr size_t kShingleWords = 5;  // as Lee et al. 2022 (arXiv 2107.06499) have it for near-duplicates

// The words of a text: letters, marks and digits in a row, composed (NFC) and small. Where a script writes no spaces
// between words (Han, kana, Thai, ...) each character is one. Bytes that are no UTF-8 stand between words.
std::vector<std::string> words_of(std::string_view text);

// Hashes of the runs of kShingleWords words, sorted, each once; of a shorter text all its words are one. (S), empty for
// a text without a word.
std::vector<uint64_t> word_shingles(std::string_view text);

// Shared over all: |a and b| / |a or b| of two sorted sets; 0 where one is empty.
double jaccard(const std::vector<uint64_t>& a, const std::vector<uint64_t>& b);

}  // namespace attar
