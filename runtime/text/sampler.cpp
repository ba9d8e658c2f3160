#include "runtime/text/sampler.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "runtime/base/error.h"
#include "runtime/base/random.h"
#include "runtime/kernels/vocabulary_math.h"

namespace attar::runtime {
namespace {

constexpr float kNegligible = 1e-9f;  // of the likeliest token's probability: never reached by a draw that was cut
constexpr double kMostScale = 1e38;   // of 1 / temperature: a float's range

std::vector<float> penalized(std::span<const float> logits, std::span<const int32_t> history,
                             const SampleOptions& options) {
  std::vector<float> changed(logits.begin(), logits.end());
  if (options.repetition_penalty == 1.0) return changed;
  const auto window = static_cast<size_t>(std::max<int64_t>(0, options.repetition_window_tokens));
  const auto recent = history.last(std::min(window, history.size()));
  const auto penalty = static_cast<float>(options.repetition_penalty);
  std::vector<int32_t> seen(recent.begin(), recent.end());
  std::sort(seen.begin(), seen.end());
  seen.erase(std::unique(seen.begin(), seen.end()), seen.end());
  for (const int32_t id : seen) {
    if (id < 0 || static_cast<size_t>(id) >= changed.size())
      throw input_error("token", "a token id is outside the vocabulary", "0 to " + std::to_string(changed.size() - 1),
                        std::to_string(id));
    float& logit = changed[static_cast<size_t>(id)];
    logit = logit > 0.0f ? logit / penalty : logit * penalty;
  }
  return changed;
}

struct Candidate {
  float weight;
  int32_t id;
};

// What top-k, top-p and min-p leave, likeliest first. Only the likely tokens are sorted.
std::vector<Candidate> candidates(const std::vector<float>& weights, const SampleOptions& options) {
  const double floor = std::max(static_cast<double>(kNegligible), options.min_p);
  std::vector<Candidate> kept;
  for (size_t i = 0; i < weights.size(); ++i)
    if (static_cast<double>(weights[i]) >= floor) kept.push_back({weights[i], static_cast<int32_t>(i)});
  const auto before = [](const Candidate& a, const Candidate& b) {
    return a.weight != b.weight ? a.weight > b.weight : a.id < b.id;
  };
  const size_t k = options.top_k > 0 ? std::min(static_cast<size_t>(options.top_k), kept.size()) : kept.size();
  std::partial_sort(kept.begin(), kept.begin() + static_cast<std::ptrdiff_t>(k), kept.end(), before);
  kept.resize(k);
  if (options.top_p >= 1.0) return kept;
  double total = 0.0, held = 0.0;
  for (const Candidate& c : kept) total += static_cast<double>(c.weight);
  size_t n = 0;
  while (n < kept.size() && (n == 0 || held < options.top_p * total)) held += static_cast<double>(kept[n++].weight);
  kept.resize(n);
  return kept;
}

int32_t draw_all(const std::vector<float>& weights, double uniform) {
  double total = 0.0;
  for (const float w : weights) total += static_cast<double>(w);
  double left = uniform * total;
  int32_t last = 0;
  for (size_t i = 0; i < weights.size(); ++i) {
    if (weights[i] <= 0.0f) continue;
    last = static_cast<int32_t>(i);
    left -= static_cast<double>(weights[i]);
    if (left < 0.0) return last;
  }
  return last;
}

}  // namespace

void check(const SampleOptions& o) {
  const auto need = [](bool right, const char* flag, const char* expected) {
    if (!right) throw usage_error(flag, "has an impossible value", expected);
  };
  need(o.temperature >= 0.0 && o.temperature <= 100.0, "--temperature", "0 to 100");
  need(o.top_k >= 0, "--top-k", "at least 0");
  need(o.top_p > 0.0 && o.top_p <= 1.0, "--top-p", "0 < x <= 1");
  need(o.min_p >= 0.0 && o.min_p <= 1.0, "--min-p", "0 <= x <= 1");
  need(o.repetition_penalty >= 0.01 && o.repetition_penalty <= 100.0, "--repetition-penalty", "0.01 to 100");
  need(o.repetition_window_tokens >= 0, "--repetition-window-tokens", "at least 0");
}

Sampled sample(std::span<const float> logits, double lse, std::span<const int32_t> history,
               const SampleOptions& options, const Draw& draw) {
  if (!std::isfinite(lse)) throw input_error("logits", "their log-sum-exp is not finite");
  const std::vector<float> changed = penalized(logits, history, options);
  const auto best = static_cast<size_t>(argmax(changed));
  int32_t token = static_cast<int32_t>(best);
  if (options.temperature > 0.0) {
    const auto scale = static_cast<float>(std::min(1.0 / options.temperature, kMostScale));
    std::vector<float> weights(changed.size());  // relative to the likeliest, which has 1
    exponentials(changed, changed[best], scale, weights);
    const double uniform = CounterRandom(draw.seed, draw.sequence).uniform(draw.position);
    if (options.top_k <= 0 && options.top_p >= 1.0 && options.min_p <= 0.0) {
      token = draw_all(weights, uniform);
    } else {
      const std::vector<Candidate> kept = candidates(weights, options);
      double total = 0.0;
      for (const Candidate& c : kept) total += static_cast<double>(c.weight);
      double left = uniform * total;
      for (const Candidate& c : kept) {
        token = c.id;
        if ((left -= static_cast<double>(c.weight)) < 0.0) break;
      }
    }
  }
  return {token, static_cast<float>(static_cast<double>(logits[static_cast<size_t>(token)]) - lse)};
}

}  // namespace attar::runtime
