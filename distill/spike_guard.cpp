#include "distill/spike_guard.h"

#include <algorithm>
#include <cmath>

namespace attar {
namespace {

bool is_finite(double loss, double gradient_norm) {
  return std::isfinite(loss) && std::isfinite(gradient_norm);
}

// Of at least one value: the upper of two in the middle.
double median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

// Losses and gradient norms of the last steps that were taken. A row of kMostSpikes skipped ones was no spike but
// another level: what came before it says nothing any more.
struct Usual {
  std::vector<double> losses{}, norms{};

  explicit Usual(const std::vector<TrainStep>& history) {
    int64_t skipped = 0;
    for (auto step = history.rbegin(); step != history.rend(); ++step) {
      skipped = step->skipped ? skipped + 1 : 0;
      if (skipped >= kMostSpikes || std::ssize(losses) >= kSpikeWindow) return;
      if (step->skipped) continue;
      losses.push_back(step->loss);
      norms.push_back(step->gradient_norm);
    }
  }
};

// What is usually 0, as in a student that is its teacher, has no scale to leap out of.
bool leaps(double value, const std::vector<double>& usual, double factor) {
  const double level = median(usual);
  return level > 0.0 && value > factor * level;
}

}  // namespace

StepVerdict judge_step(const std::vector<TrainStep>& history, double loss, double gradient_norm, double spike_factor) {
  if (!is_finite(loss, gradient_norm))
    return not_finite_in_a_row(history) + 1 >= kMostNotFinite ? StepVerdict::Stop : StepVerdict::Skip;
  if (spike_factor <= 0.0) return StepVerdict::Take;
  const Usual usual(history);
  if (std::ssize(usual.losses) < kFewestUsual) return StepVerdict::Take;
  const bool spike = leaps(loss, usual.losses, spike_factor) || leaps(gradient_norm, usual.norms, spike_factor);
  return spike ? StepVerdict::Skip : StepVerdict::Take;
}

int64_t not_finite_in_a_row(const std::vector<TrainStep>& history) {
  int64_t count = 0;
  for (auto step = history.rbegin(); step != history.rend(); ++step, ++count)
    if (is_finite(step->loss, step->gradient_norm)) break;
  return count;
}

}  // namespace attar
