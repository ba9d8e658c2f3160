#include "recipes/schema/suggestion.h"

#include <algorithm>

namespace attar {
namespace {

// Edits of one character between two words: insert, delete, replace, for "did you mean".
size_t edit_distance(const std::string& a, const std::string& b) {
  std::vector<size_t> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t above = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, diagonal + (a[i - 1] == b[j - 1] ? 0 : 1)});
      diagonal = above;
    }
  }
  return row[b.size()];
}

}  // namespace

std::string suggestion(const std::string& word, const std::vector<std::string>& known,
                       std::span<const RenamedField> renamed) {
  for (const RenamedField& field : renamed)
    if (word == field.before) return std::string("; it is called `") + field.now + "` now";
  const auto closer = [&](const std::string& a, const std::string& b) {
    return edit_distance(word, a) < edit_distance(word, b);
  };
  const auto best = std::min_element(known.begin(), known.end(), closer);
  if (best != known.end() && edit_distance(word, *best) <= std::max<size_t>(2, word.size() / 3))
    return "; did you mean `" + *best + "`?";
  std::string all;
  for (const std::string& name : known) all += (all.empty() ? "" : ", ") + name;
  return "; known keys: " + all;
}

}  // namespace attar
