#include "recipes/schema/problems.h"

#include <algorithm>

#include "runtime/base/error.h"

namespace attar {

RecipePlace place_of(const RecipePlaces& places, std::string key) {
  for (;;) {
    if (const auto found = places.find(key); found != places.end()) return found->second;
    const size_t dot = key.rfind('.');
    if (dot == std::string::npos) return {};
    key.resize(dot);
  }
}

std::vector<std::string> problem_lines(const std::string& file, std::vector<RecipeProblem> problems) {
  std::stable_sort(problems.begin(), problems.end(), [](const RecipeProblem& a, const RecipeProblem& b) {
    return std::pair(a.place.line, a.place.column) < std::pair(b.place.line, b.place.column);
  });
  std::vector<std::string> lines;
  for (const auto& [kind, place, what] : problems) {
    std::string where = file;
    if (!place.given.empty())
      where = "'" + place.given + "'";
    else if (place.line > 0)
      where += ":" + std::to_string(place.line) + ":" + std::to_string(place.column);
    lines.push_back(where + ": " + what);
  }
  return lines;
}

void throw_problems(const std::string& file, const std::vector<RecipeProblem>& problems) {
  if (problems.empty()) return;
  std::string text;
  for (const std::string& line : problem_lines(file, problems)) text += (text.empty() ? "" : "\n") + line;
  const bool input = std::all_of(problems.begin(), problems.end(),
                                 [](const RecipeProblem& p) { return p.kind == ProblemKind::Input; });
  throw Error(input ? ErrorKind::Input : ErrorKind::Usage, {.what = text});
}

}  // namespace attar
