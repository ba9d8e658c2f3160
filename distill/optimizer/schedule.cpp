#include "distill/optimizer/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "runtime/base/error.h"

namespace attar {
namespace {

// Where a training is: as a share of all of it, and of what comes after the warm-up.
struct Place {
  double of_all, after_warmup;
};

// How far above its final rate a schedule still is: 1 at the peak, 0 at the end.
struct Schedule {
  const char* name;
  double (*height)(const Place& at, const DistillOptions& options);
};

double cosine(const Place& at, const DistillOptions&) {
  return 0.5 * (1.0 + std::cos(std::numbers::pi * at.after_warmup));
}

// Warm-up, stable, decay (Hu et al. 2024, arXiv 2404.06395), the decay as 1 - sqrt (Haegele et al. 2024, arXiv
// 2405.18392, section 3).
double wsd(const Place& at, const DistillOptions& options) {
  const double share = (at.of_all - (1.0 - options.decay)) / options.decay;
  return 1.0 - std::sqrt(std::clamp(share, 0.0, 1.0));
}

double linear(const Place& at, const DistillOptions&) {
  return 1.0 - at.after_warmup;
}

double constant(const Place&, const DistillOptions&) {
  return 1.0;
}

constexpr Schedule kSchedules[] = {{"cosine", cosine}, {"wsd", wsd}, {"linear", linear}, {"constant", constant}};

}  // namespace

std::vector<std::string> schedule_names() {
  std::vector<std::string> names;
  for (const Schedule& schedule : kSchedules) names.emplace_back(schedule.name);
  return names;
}

double learning_rate_at(const DistillOptions& options, int64_t tokens) {
  const auto* schedule = std::find_if(std::begin(kSchedules), std::end(kSchedules),
                                      [&](const Schedule& each) { return each.name == options.schedule; });
  if (schedule == std::end(kSchedules))
    throw usage_error("distill.schedule", "no such schedule", "cosine, wsd, linear or constant",
                      printable(options.schedule));
  const double at = static_cast<double>(tokens) / static_cast<double>(options.tokens);
  if (at < options.warmup) return options.learning_rate * std::max(at / options.warmup, 0.1);
  const double share = std::min(1.0, (at - options.warmup) / std::max(1e-9, 1.0 - options.warmup));
  const double last = options.final_learning_rate_ratio;
  return options.learning_rate * (last + (1.0 - last) * schedule->height({at, share}, options));
}

}  // namespace attar
