#include "runtime/formats/tokenizer/shared_ends.h"

namespace attar {

std::vector<SharedEnd> shared_ends(std::span<const size_t> first, std::span<const size_t> second) {
  std::vector<SharedEnd> out;
  SharedEnd done;
  const auto add = [&](size_t end) {
    while (done.first < first.size() && first[done.first] <= end) ++done.first;
    while (done.second < second.size() && second[done.second] <= end) ++done.second;
    out.push_back(done);
  };
  if ((!first.empty() && first[0] == 0) || (!second.empty() && second[0] == 0)) add(0);
  for (SharedEnd next = done; next.first < first.size() && next.second < second.size();) {
    const size_t a = first[next.first], b = second[next.second];
    if (a == b)
      add(a), next = done;
    else
      ++(a < b ? next.first : next.second);
  }
  if (const SharedEnd all{first.size(), second.size()}; done != all) out.push_back(all);
  return out;
}

}  // namespace attar
