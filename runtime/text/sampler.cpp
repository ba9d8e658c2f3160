#include "runtime/text/sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <optional>
#include <utility>

#include "runtime/base/error.h"
#include "runtime/base/random.h"
#include "runtime/kernels/vocabulary_math.h"

namespace attar::runtime {
namespace {

constexpr float kNegligible = 1e-9f;  // of the likeliest token's probability: never reached by a draw that was cut
constexpr double kMostScale = 1e38;   // of 1 / temperature: a float's range
constexpr float kNever = -std::numeric_limits<float>::infinity();
constexpr float kMostBias = 1000.0f;
constexpr int64_t kAskedFor = 32;      // tokens beside top-k that a grammar may refuse before all are asked for
constexpr int64_t kSpare = 8;          // tokens beside top-k that show whether rounding could have hidden another one
constexpr double kRounded = 1.000001;  // times a weight: what no smaller logit weighs (fast_exp is right to 2e-7)
constexpr int64_t kBlocksAToken = 4;   // of logits there must be for top-k to be found by their maxima

void check_id(int32_t id, size_t n_logits) {
  if (id < 0 || static_cast<size_t>(id) >= n_logits)
    throw input_error("token", "a token id is outside the vocabulary", "0 to " + std::to_string(n_logits - 1),
                      std::to_string(id));
}

// The recent tokens that a penalty is for; none where there is no penalty.
std::span<const int32_t> penalized(std::span<const int32_t> history, const SampleOptions& options) {
  if (options.repetition_penalty == 1.0) return {};
  const auto window = static_cast<size_t>(std::max<int64_t>(0, options.repetition_window_tokens));
  return history.last(std::min(window, history.size()));
}

float with_penalty(float logit, const SampleOptions& options) {
  const auto penalty = static_cast<float>(options.repetition_penalty);
  return logit > 0.0f ? logit / penalty : logit * penalty;
}

std::vector<int32_t> each_once(std::vector<int32_t> ids) {
  std::sort(ids.begin(), ids.end());
  ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
  return ids;
}

// With biases, then penalties.
std::vector<float> changed_logits(std::span<const float> logits, std::span<const int32_t> history,
                                  const SampleOptions& options) {
  std::vector<float> changed(logits.begin(), logits.end());
  const auto at = [&changed](int32_t id) -> float& {
    check_id(id, changed.size());
    return changed[static_cast<size_t>(id)];
  };
  for (const TokenBias& bias : options.bias) at(bias.token) += bias.bias;
  const std::span<const int32_t> recent = penalized(history, options);
  for (const int32_t id : each_once({recent.begin(), recent.end()})) at(id) = with_penalty(at(id), options);
  return changed;
}

void keep_only(std::span<float> logits, const TokenSet& allowed) {
  const std::span<const uint64_t> words = allowed.words();
  for (size_t first = 0; first < logits.size(); first += 64) {
    const size_t n = std::min<size_t>(64, logits.size() - first);
    const uint64_t word = first / 64 < words.size() ? words[first / 64] : 0;
    if (word == ~uint64_t{0}) continue;
    for (size_t i = 0; i < n; ++i)
      if ((word >> i & 1) == 0) logits[first + i] = kNever;
  }
}

// Takes away what the grammar forbids, where all of that is known or has to be. -> the grammar, where tokens are still
// to be asked for one by one: the likeliest is allowed, and the few likely ones of top-k are cheaper than all.
const GrammarCursor* restricted(std::vector<float>& logits, const SampleOptions& options,
                                const GrammarCursor* grammar) {
  if (grammar == nullptr) return nullptr;
  std::shared_ptr<const TokenSet> allowed = grammar->known();
  if (allowed == nullptr) {
    const bool few = options.temperature <= 0.0 || options.top_k > 0;
    if (few && grammar->allows(static_cast<int32_t>(argmax(logits)))) return grammar;
    allowed = grammar->allowed();
  }
  keep_only(logits, *allowed);
  if (*std::max_element(logits.begin(), logits.end()) == kNever)
    throw input_error(grammar->where(), "no token of the vocabulary goes on with the grammar", "", "",
                      "the vocabulary lacks what must come next, biases forbid it, or rules nest too deeply");
  return nullptr;
}

struct Candidate {
  float weight;  // or logit
  int32_t id;
};
bool is_likelier(const Candidate& a, const Candidate& b) {
  return a.weight != b.weight ? a.weight > b.weight : a.id < b.id;
}

// The k likeliest of these that the grammar allows, likeliest first. Asks for some more than k, and only where that was
// not enough for all that may come.
void keep_likeliest(std::vector<Candidate>& kept, size_t k, const GrammarCursor* grammar) {
  const auto sort_first = [&](size_t n) {
    std::partial_sort(kept.begin(), kept.begin() + static_cast<std::ptrdiff_t>(n), kept.end(), is_likelier);
  };
  if (grammar != nullptr) {
    const size_t asked = std::min(k + static_cast<size_t>(kAskedFor), kept.size());
    sort_first(asked);
    std::vector<Candidate> allowed;
    for (size_t i = 0; i < asked && allowed.size() < k; ++i)
      if (grammar->allows(kept[i].id)) allowed.push_back(kept[i]);
    if (allowed.size() == k || asked == kept.size()) return kept.swap(allowed);
    const std::shared_ptr<const TokenSet> all = grammar->allowed();
    std::erase_if(kept, [&](const Candidate& c) { return !all->has(static_cast<size_t>(c.id)); });
  }
  k = std::min(k, kept.size());
  sort_first(k);
  kept.resize(k);
}

// The smallest part of these, which come likeliest first, that has the share top_p of all, and of it what min_p leaves.
void cut_top_p(std::vector<Candidate>& kept, const SampleOptions& options) {
  if (options.top_p >= 1.0) return;
  double total = 0.0, held = 0.0;
  for (const Candidate& c : kept) total += static_cast<double>(c.weight);
  size_t n = 0;
  for (; n < kept.size() && (n == 0 || held < options.top_p * total); ++n) {
    const auto weight = static_cast<double>(kept[n].weight);
    if (weight < options.min_p) break;
    held += weight;
  }
  kept.resize(n);
}

// Below which a weight is dropped before top-p, whose shares are of what min_p would drop too.
double least_weight(const SampleOptions& options) {
  return std::max(static_cast<double>(kNegligible), options.top_p < 1.0 ? 0.0 : options.min_p);
}

// What top-k, top-p and min-p leave, likeliest first. Only the likely tokens are sorted.
std::vector<Candidate> candidates(const std::vector<float>& weights, const SampleOptions& options,
                                  const GrammarCursor* grammar) {
  const double floor = least_weight(options);
  std::vector<Candidate> kept;
  for (size_t i = 0; i < weights.size(); ++i)
    if (static_cast<double>(weights[i]) >= floor) kept.push_back({weights[i], static_cast<int32_t>(i)});
  keep_likeliest(kept, options.top_k > 0 ? static_cast<size_t>(options.top_k) : kept.size(), grammar);
  cut_top_p(kept, options);
  return kept;
}

// 1 / temperature.
float scale_of(const SampleOptions& options) {
  return static_cast<float>(std::min(1.0 / options.temperature, kMostScale));
}

// Some tokens with their logits, likeliest first. Of all others none has a logit above `rest`.
struct Likely {
  std::vector<Candidate> tokens;
  float rest;
};

// What biases and penalties make of the logits that they change, by id.
std::vector<Candidate> changed_tokens(std::span<const float> logits, std::span<const int32_t> history,
                                      const SampleOptions& options) {
  const std::span<const int32_t> recent = penalized(history, options);
  const std::vector<int32_t> seen = each_once({recent.begin(), recent.end()});
  std::vector<int32_t> ids = seen;
  for (const TokenBias& bias : options.bias) ids.push_back(bias.token);
  std::vector<Candidate> changed;
  for (const int32_t id : each_once(std::move(ids))) {
    check_id(id, logits.size());
    float logit = logits[static_cast<size_t>(id)];
    for (const TokenBias& bias : options.bias)
      if (bias.token == id) logit += bias.bias;
    if (std::binary_search(seen.begin(), seen.end(), id)) logit = with_penalty(logit, options);
    changed.push_back({logit, id});
  }
  return changed;
}

// The n likeliest by the maxima of their blocks, and those that are changed.
Likely likely_tokens(const SummedLogits& logits, int64_t n, std::span<const int32_t> history,
                     const SampleOptions& options) {
  const std::vector<int32_t> ids = top_indices(logits.values, n, logits.maxima);
  const std::vector<Candidate> changed = changed_tokens(logits.values, history, options);
  const auto by_id = [](const Candidate& a, const Candidate& b) { return a.id < b.id; };
  Likely likely{changed, logits.values[static_cast<size_t>(ids.back())]};
  for (const int32_t id : ids) {
    const Candidate one{logits.values[static_cast<size_t>(id)], id};
    if (!std::binary_search(changed.begin(), changed.end(), one, by_id)) likely.tokens.push_back(one);
  }
  if (!changed.empty()) std::sort(likely.tokens.begin(), likely.tokens.end(), is_likelier);
  return likely;
}

// The first of them that the grammar allows, at most `most`.
void keep_allowed(Likely& likely, size_t most, const GrammarCursor* grammar) {
  const std::shared_ptr<const TokenSet> known = grammar != nullptr ? grammar->known() : nullptr;
  std::vector<Candidate> kept;
  for (const Candidate& one : likely.tokens) {
    if (kept.size() == most) {
      likely.rest = std::max(likely.rest, one.weight);
      break;
    }
    const bool may_come =
        grammar == nullptr || (known != nullptr ? known->has(static_cast<size_t>(one.id)) : grammar->allows(one.id));
    if (may_come) kept.push_back(one);
  }
  likely.tokens = std::move(kept);
}

// The same as candidates(), to the bit, of the likely tokens. Empty where that might not be all that belongs there:
// weights are rounded, so a logit a little below those may weigh as much.
std::vector<Candidate> few_candidates(const Likely& likely, const SampleOptions& options) {
  std::vector<float> weights;
  for (const Candidate& one : likely.tokens) weights.push_back(one.weight);
  weights.push_back(likely.rest);
  exponentials(weights, likely.tokens.front().weight, scale_of(options), weights);
  const double floor = least_weight(options);
  std::vector<Candidate> kept;
  for (size_t i = 0; i < likely.tokens.size(); ++i)
    if (static_cast<double>(weights[i]) >= floor) kept.push_back({weights[i], likely.tokens[i].id});
  keep_likeliest(kept, static_cast<size_t>(options.top_k), nullptr);
  const double others = static_cast<double>(weights.back()) * kRounded;  // weigh no more
  const bool cut_above =
      static_cast<int64_t>(kept.size()) == options.top_k && others < static_cast<double>(kept.back().weight);
  if (others >= floor && !cut_above) return {};
  cut_top_p(kept, options);
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

double uniform_of(const Draw& draw) {
  return CounterRandom(draw.seed, draw.sequence).uniform(draw.position);
}

// `none` where there is no candidate.
int32_t draw_one(const std::vector<Candidate>& kept, const Draw& draw, int32_t none) {
  double total = 0.0;
  for (const Candidate& c : kept) total += static_cast<double>(c.weight);
  double left = uniform_of(draw) * total;
  int32_t token = none;
  for (const Candidate& c : kept) {
    token = c.id;
    if ((left -= static_cast<double>(c.weight)) < 0.0) break;
  }
  return token;
}

// The token that sample() draws, found without all logits; nothing where they have to be looked at.
std::optional<int32_t> sample_few(const SummedLogits& logits, std::span<const int32_t> history,
                                  const SampleOptions& options, const Draw& draw, const GrammarCursor* grammar) {
  if (logits.maxima.empty()) return std::nullopt;
  const bool greedy = options.temperature <= 0.0;
  const auto n_changed = static_cast<int64_t>(options.bias.size() + penalized(history, options).size());
  if (greedy && n_changed == 0 && grammar == nullptr) return static_cast<int32_t>(argmax(logits.values, logits.maxima));
  const int64_t k = greedy ? 1 : options.top_k;
  const int64_t beside = kSpare + n_changed + (grammar != nullptr ? kAskedFor : 0);
  if (k <= 0 || k > static_cast<int64_t>(logits.maxima.size()) / kBlocksAToken - beside) return std::nullopt;
  Likely likely = likely_tokens(logits, k + beside, history, options);
  // A grammar is asked for no more than is needed: it may be too much to read behind what is never drawn.
  keep_allowed(likely, static_cast<size_t>(grammar != nullptr ? k : k + kSpare), grammar);
  if (likely.tokens.empty() || likely.tokens.front().weight <= likely.rest) return std::nullopt;
  const int32_t best = likely.tokens.front().id;
  if (greedy) return best;
  const std::vector<Candidate> kept = few_candidates(likely, options);
  if (kept.empty()) return std::nullopt;
  return draw_one(kept, draw, best);
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
  for (const TokenBias& bias : o.bias) need(bias.bias <= kMostBias, "--logit-bias", "at most 1000; -inf for never");
}

Sampled sample(const SummedLogits& row, std::span<const int32_t> history, const SampleOptions& options,
               const Draw& draw, const GrammarCursor* grammar) {
  if (!std::isfinite(row.lse)) throw input_error("logits", "their log-sum-exp is not finite");
  const auto drawn = [&row](int32_t token) {
    return Sampled{token, static_cast<float>(static_cast<double>(row.values[static_cast<size_t>(token)]) - row.lse)};
  };
  if (const std::optional<int32_t> token = sample_few(row, history, options, draw, grammar)) return drawn(*token);
  std::vector<float> changed = changed_logits(row.values, history, options);
  grammar = restricted(changed, options, grammar);
  const auto best = static_cast<size_t>(argmax(changed));
  if (options.temperature <= 0.0) return drawn(static_cast<int32_t>(best));
  std::vector<float> weights(changed.size());  // relative to the likeliest, which has 1
  exponentials(changed, changed[best], scale_of(options), weights);
  if (options.top_k <= 0 && options.top_p >= 1.0 && options.min_p <= 0.0)
    return drawn(draw_all(weights, uniform_of(draw)));
  return drawn(draw_one(candidates(weights, options, grammar), draw, static_cast<int32_t>(best)));
}

Sampled sample(std::span<const float> logits, double lse, std::span<const int32_t> history,
               const SampleOptions& options, const Draw& draw, const GrammarCursor* grammar) {
  return sample(SummedLogits{logits, lse}, history, options, draw, grammar);
}

}  // namespace attar::runtime
