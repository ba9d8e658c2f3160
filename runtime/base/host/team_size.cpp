#include "runtime/base/host/team_size.h"

#include <sys/resource.h>

#include <algorithm>

namespace attar {
namespace {

// A window is what one decision is made by: longer than the slices of time that the system gives, of a few
// milliseconds.
constexpr int64_t kPieces = 8;
constexpr double kSeconds = 0.05;
constexpr int64_t kPreempted = 3;  // times in a window: fewer are the system's own errands
constexpr double kFaster = 0.95;   // of the time before: what differs less is chance
constexpr int kLongestPatience = 64;

}  // namespace

int64_t preemptions() {
  rusage used{};
  return getrusage(RUSAGE_SELF, &used) == 0 ? used.ru_nivcsw : 0;
}

void TeamSize::took(double seconds, int64_t kind) {
  if (most_ == 1) return;
  if (kind != kind_) {  // what was timed does not compare
    kind_ = kind, trial_ = 0;
    begin_window();
    return;
  }
  seconds_ += seconds;
  if (++pieces_ < kPieces || seconds_ < kSeconds) return;
  end_window();
  begin_window();
}

void TeamSize::begin_window() {
  pieces_ = 0, seconds_ = 0;
  preempted_before_ = preempted_();
}

void TeamSize::end_window() {
  const double piece_s = seconds_ / static_cast<double>(pieces_);
  if (trial_ != 0) {
    const bool faster = piece_s < kFaster * before_s_;
    if (faster) size_ = trial_;
    trial_ = 0;
    patience_ = faster ? 1 : std::min(2 * patience_, kLongestPatience);
    windows_ = patience_;
    return;
  }
  before_s_ = piece_s;
  if (windows_ > 0 && --windows_ > 0) return;
  const bool contended = preempted_() - preempted_before_ >= kPreempted;
  if (contended && size_ > 1)
    trial_ = size_ - 1;
  else if (!contended && size_ < most_)
    trial_ = size_ + 1;
}

}  // namespace attar
