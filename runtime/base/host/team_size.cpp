#include "runtime/base/host/team_size.h"

#include <sys/resource.h>

#include <algorithm>
#include <utility>

namespace attar {
namespace {

// A window is what one decision is made by: longer than the slices of time that the system gives, of a few
// milliseconds.
constexpr int64_t kPieces = 8;
constexpr double kSeconds = 0.05;
constexpr int64_t kPreempted = 3;  // times in a window: fewer are the system's own errands
constexpr double kFaster = 0.95;   // of the time before: what differs less is chance
// What is put aside waits for the others' time: a trial that has lost so much is over. The larger of the two.
constexpr double kLostPieces = 3, kLostSeconds = 0.004;
constexpr int kPatienceForFewer = 1;  // their trial costs little, and what they gain is much
constexpr int kPatienceForMore = 4;
constexpr int kLongestPatience = 64;

}  // namespace

int64_t preemptions() {
  rusage used{};
  return getrusage(RUSAGE_SELF, &used) == 0 ? used.ru_nivcsw : 0;
}

TeamSize::TeamSize(int most, std::function<int64_t()> preempted)
    : preempted_(std::move(preempted)),
      most_(most),
      size_(most),
      fewer_{.patience = kPatienceForFewer},
      more_{.patience = kPatienceForMore} {}

void TeamSize::took(double seconds, int64_t kind) {
  if (most_ == 1) return;
  if (kind != kind_) {  // what was timed does not compare
    kind_ = kind, trial_ = 0;
    begin_window();
    return;
  }
  seconds_ += seconds;
  ++pieces_;
  if (!is_lost() && (pieces_ < kPieces || seconds_ < kSeconds)) return;
  end_window();
  begin_window();
}

void TeamSize::begin_window() {
  pieces_ = 0, seconds_ = 0;
  preempted_before_ = preempted_();
}

bool TeamSize::is_lost() const {
  const double lost_s = seconds_ - before_s_ * static_cast<double>(pieces_);
  return trial_ != 0 && lost_s > std::max(kLostPieces * before_s_, kLostSeconds);
}

void TeamSize::end_window() {
  const double piece_s = seconds_ / static_cast<double>(pieces_);
  if (trial_ != 0) return end_trial(piece_s < kFaster * before_s_);
  before_s_ = piece_s;
  const bool contended = preempted_() - preempted_before_ >= kPreempted;
  const bool fewer = fewer_.are_due() && contended && size_ > 1, more = more_.are_due() && !contended && size_ < most_;
  if (fewer) trial_ = size_ - 1;
  if (more) trial_ = size_ + 1;
}

void TeamSize::end_trial(bool faster) {
  const bool of_fewer = trial_ < size_;
  Trials &own = of_fewer ? fewer_ : more_, &other = of_fewer ? more_ : fewer_;
  if (faster) {
    size_ = trial_;
    own = {of_fewer ? kPatienceForFewer : kPatienceForMore, 1};
    other.windows = other.patience = of_fewer ? kPatienceForMore : kPatienceForFewer;
  } else {
    own.patience = std::min(2 * own.patience, kLongestPatience);
    own.windows = own.patience;
  }
  trial_ = 0;
}

}  // namespace attar
