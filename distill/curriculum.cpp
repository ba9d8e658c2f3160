#include "distill/curriculum.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "runtime/base/random.h"

namespace attar {
namespace {

constexpr double kFirstShare = 0.1;

Piece whole(const TokenDataset& data, int64_t document) {
  return {document, 0, static_cast<int64_t>(data.documents[static_cast<size_t>(document)].tokens.size())};
}

}  // namespace

Curriculum::Curriculum(const TokenDataset& data, const std::vector<double>& teacher_losses, SignalSource source,
                       const DistillOptions& options, uint64_t seed)
    : data_(&data),
      source_(source),
      tokens_(options.curriculum * static_cast<double>(options.tokens)),
      batch_tokens_(options.batch_tokens),
      seed_(seed) {
  for (int64_t d = 0; d < std::ssize(data.documents); ++d)
    if (loss_tokens(data, {whole(data, d)}, source).weight > 0.0) easiest_first_.push_back(d);
  std::stable_sort(easiest_first_.begin(), easiest_first_.end(), [&](int64_t a, int64_t b) {
    return teacher_losses[static_cast<size_t>(a)] < teacher_losses[static_cast<size_t>(b)];
  });
}

double Curriculum::share_at(int64_t tokens) const {
  const double behind = static_cast<double>(tokens) / tokens_, first = kFirstShare * kFirstShare;
  return std::min(1.0, std::sqrt(behind * (1.0 - first) + first));
}

// Each document at most once, until the next one does not fit.
TrainingBatch Curriculum::next(int64_t step, int64_t tokens) const {
  constexpr uint64_t kStream = uint64_t{0x63757272} << 32;
  const CounterRandom random(seed_, kStream + static_cast<uint64_t>(step));
  const auto pool = static_cast<uint64_t>(std::ceil(share_at(tokens) * static_cast<double>(easiest_first_.size())));
  TrainingBatch batch{.data = data_, .pieces = {}, .tokens = {}};
  std::set<uint64_t> drawn;
  int64_t room = batch_tokens_;
  for (uint64_t draw = 0; drawn.size() < pool; ++draw) {
    const uint64_t at = random.below(draw, pool);
    if (drawn.contains(at)) continue;
    const Piece piece = whole(*data_, easiest_first_[at]);
    if (!batch.pieces.empty() && piece.length - 1 > room) break;
    drawn.insert(at);
    batch.pieces.push_back(piece);
    room -= piece.length - 1;
  }
  batch.tokens = loss_tokens(*data_, batch.pieces, source_);
  return batch;
}

}  // namespace attar
