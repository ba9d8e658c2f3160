#include "runtime/base/progress.h"

#include "runtime/base/error.h"

namespace attar {
namespace {

constexpr double kTelling_s = 1.0;  // a stage this short says nothing about the others

}  // namespace

void report(const Progress& progress, const Event& event) {
  if (progress && progress(event) == Flow::Stop)
    throw Error(ErrorKind::Interrupted, {.where = std::string(event.stage), .what = "interrupted"});
}

Progress inside(const Progress& progress, const Event& now) {
  return [&](const Event&) { return progress ? progress(now) : Flow::GoOn; };
}

void StagePlace::enter(size_t part) {
  const auto now = std::chrono::steady_clock::now();
  const double took_s = std::chrono::duration<double>(now - begun_).count();
  if (part_ > 0 && part_ <= planned_s_.size() && took_s > kTelling_s)
    done_s_ += took_s, done_planned_s_ += planned_s_[part_ - 1];
  part_ = part;
  begun_ = now;
}

// The estimates are right but for a factor, which the first stage that takes a while tells: not known before.
double StagePlace::later_s() const {
  double later = 0.0;
  for (size_t i = part_; i < planned_s_.size(); ++i) later += planned_s_[i];
  return done_planned_s_ > 0.0 ? later * done_s_ / done_planned_s_ : 0.0;
}

Progress StagePlace::watching(Progress progress) const {
  if (planned_s_.empty() || !progress) return progress;
  return [this, progress = std::move(progress)](const Event& event) {
    Event placed = event;
    placed.part = static_cast<int64_t>(part_), placed.parts = static_cast<int64_t>(planned_s_.size());
    placed.later_s = later_s();
    return progress(placed);
  };
}

}  // namespace attar
