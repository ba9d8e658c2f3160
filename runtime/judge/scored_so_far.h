// What a verification has scored, on disk, so that one that is broken off goes on behind its last whole window.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace attar::runtime {

struct ScoredSoFar {
  std::vector<int64_t> counts{};  // where it stands, windows, positions left out
  std::vector<double> numbers{};  // sums, and what each position gave
};

// Under `identity`, of all that decides the numbers, and a SHA-256 of them; written aside and renamed.
void keep_scored(const std::string& path, const std::string& identity, const ScoredSoFar& scored);
// nullopt: the file is not there. Error{Input}: it is damaged, or of another verification.
std::optional<ScoredSoFar> take_scored(const std::string& path, const std::string& identity);

}  // namespace attar::runtime
