#include "recipes/cli/on_ranks.h"

#include <optional>

#include "distill/ranks/ranks.h"
#include "distill/ranks/shared_training.h"
#include "runtime/base/error.h"

namespace attar::cli {
namespace {

struct DismissedAtTheEnd {
  Ranks& ranks;
  ~DismissedAtTheEnd() { dismiss(ranks); }
};

}  // namespace

int on_ranks(const GlobalOptions& global, const std::function<int(Ranks* ranks)>& work) {
  const std::optional<RankPlace> place = place_of_environment();
  if (!place) return work(nullptr);
  Ranks ranks(*place, static_cast<int>(global.threads), interrupted);
  if (ranks.rank() > 0) {
    serve_trainings(ranks);
    return interrupted() ? static_cast<int>(ErrorKind::Interrupted) : 0;
  }
  const DismissedAtTheEnd others{ranks};
  return work(&ranks);
}

}  // namespace attar::cli
