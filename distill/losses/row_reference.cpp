#include "distill/losses/row_reference.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace attar {
namespace {

using Values = std::vector<double>;

Values softmax(const Values& x) {
  const double most = *std::max_element(x.begin(), x.end());
  Values p;
  for (const double v : x) p.push_back(std::exp(v - most));
  const double sum = std::accumulate(p.begin(), p.end(), 0.0);
  for (double& v : p) v /= sum;
  return p;
}

Values scaled(const std::vector<float>& x, double factor) {
  Values out;
  for (const float v : x) out.push_back(static_cast<double>(v) * factor);
  return out;
}

// a log(a / b); 0 log 0 = 0
double relative(double a, double b) {
  return a > 0.0 ? a * std::log(a / b) : 0.0;
}

Values mixture(const Values& p, const Values& q, double share) {
  Values m(p.size());
  for (size_t i = 0; i < m.size(); ++i) m[i] = share * p[i] + (1.0 - share) * q[i];
  return m;
}

double kl(const Values& a, const Values& b) {
  double sum = 0.0;
  for (size_t i = 0; i < a.size(); ++i) sum += relative(a[i], b[i]);
  return sum;
}

// Value, and g = d divergence / d q.
struct Divergence {
  double value;
  Values g;
};
struct Definition {
  const Values &p, &q;

  template <class Each>
  Divergence with(double value, Each&& each) const {
    Values g(p.size());
    for (size_t i = 0; i < g.size(); ++i) g[i] = q[i] > 0.0 ? each(i) : 0.0;
    return {value, g};
  }
  Divergence operator()(const ForwardKl&) const {
    return with(kl(p, q), [&](size_t i) { return -p[i] / q[i]; });
  }
  Divergence operator()(const ReverseKl&) const {
    return with(kl(q, p), [&](size_t i) { return std::log(q[i] / p[i]); });
  }
  Divergence operator()(const WeighedKl& w) const {
    return with(w.forward * kl(p, q) + w.reverse * kl(q, p),
                [&](size_t i) { return -w.forward * p[i] / q[i] + w.reverse * std::log(q[i] / p[i]); });
  }
  Divergence operator()(const GeneralizedJsd& j) const {
    const Values m = mixture(p, q, j.beta);
    return with(j.beta * kl(p, m) + (1.0 - j.beta) * kl(q, m),
                [&](size_t i) { return (1.0 - j.beta) * std::log(q[i] / m[i]); });
  }
  Divergence operator()(const SkewForwardKl& s) const {
    const Values m = mixture(p, q, s.alpha);
    return with(kl(p, m), [&](size_t i) { return -(1.0 - s.alpha) * p[i] / m[i]; });
  }
  Divergence operator()(const SkewReverseKl& s) const {
    const Values m = mixture(p, q, 1.0 - s.alpha);
    return with(kl(q, m), [&](size_t i) { return std::log(q[i] / m[i]) - s.alpha * q[i] / m[i]; });
  }
  Divergence operator()(const TotalVariation&) const {
    double sum = 0.0;
    for (size_t i = 0; i < p.size(); ++i) sum += std::abs(p[i] - q[i]) / 2.0;
    return with(sum, [&](size_t i) { return q[i] > p[i] ? 0.5 : q[i] < p[i] ? -0.5 : 0.0; });
  }
  Divergence operator()(const AdaptiveKl& a) const {
    std::vector<size_t> order(p.size());
    std::iota(order.begin(), order.end(), size_t{0});
    std::stable_sort(order.begin(), order.end(), [&](size_t i, size_t j) { return p[i] > p[j]; });
    double mass = 0.0, head = 0.0, all = 0.0;
    for (const size_t i : order) {
      if (mass < a.head_mass) head += std::abs(p[i] - q[i]);
      all += std::abs(p[i] - q[i]);
      mass += p[i];
    }
    const double share = all > 0.0 ? head / all : 0.5;
    return (*this)(WeighedKl{share, 1.0 - share});
  }
  Divergence operator()(const Taid& t) const {
    Values target(p.size());
    for (size_t i = 0; i < p.size(); ++i) target[i] = (1.0 - t.share) * std::log(q[i]) + t.share * std::log(p[i]);
    const Values moved = softmax(target);
    return Definition{moved, q}(ForwardKl{});
  }
  Divergence operator()(const CrossEntropy&) const { return {0.0, Values(p.size())}; }
  Divergence operator()(const AlignedLikelihood&) const { return {0.0, Values(p.size())}; }
  Divergence operator()(const SortedDistance&) const { return {0.0, Values(p.size())}; }
};

// Ranks by falling probability, the lower id first of equals.
std::vector<size_t> ranked(const Values& p) {
  std::vector<size_t> order(p.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return p[a] > p[b]; });
  return order;
}

double sorted_distance(const Values& p, const Values& q, double scale, Values& gradient) {
  const std::vector<size_t> by_p = ranked(p), by_q = ranked(q);
  Values g(q.size());
  double value = 0.0, mean = 0.0;
  for (size_t rank = 0; rank < std::max(p.size(), q.size()); ++rank) {
    const double a = rank < p.size() ? p[by_p[rank]] : 0.0, b = rank < q.size() ? q[by_q[rank]] : 0.0;
    value += std::abs(a - b);
    if (rank < q.size()) g[by_q[rank]] = b > a ? 1.0 : b < a ? -1.0 : 0.0;
  }
  for (size_t i = 0; i < q.size(); ++i) mean += q[i] * g[i];
  for (size_t i = 0; i < q.size(); ++i) gradient[i] += scale * q[i] * (g[i] - mean);
  return value;
}

double cross_entropy(const CrossEntropy& form, const std::vector<float>& logits, int64_t token, double scale,
                     Values& gradient) {
  const Values z = scaled(logits, 1.0), q = softmax(z);
  const double most = *std::max_element(z.begin(), z.end());
  double sum = 0.0, loss = 0.0;
  for (const double v : z) sum += std::exp(v - most);
  const double lse = most + std::log(sum);
  for (size_t i = 0; i < z.size(); ++i) {
    const double wanted = (static_cast<int64_t>(i) == token ? 1.0 - form.label_smoothing : 0.0) +
                          form.label_smoothing / static_cast<double>(z.size());
    loss += wanted * (lse - z[i]);
    gradient[i] += scale * (q[i] - wanted + form.z_loss * 2.0 * lse * q[i]);
  }
  return loss + form.z_loss * lse * lse;
}

// The probabilities of the kept tokens in order, then of all others together where there are any. Which bucket each
// token is in.
struct Buckets {
  Values p, q;
  std::vector<size_t> of;
};
Buckets buckets_of(const Values& q, const TopKRow& top) {
  Buckets out{{}, {}, std::vector<size_t>(q.size(), SIZE_MAX)};
  double kept = 0.0, cut = 0.0, tail = 0.0;
  for (int64_t j = 0; j < top.k; ++j) {
    const double p = std::exp(static_cast<double>(top.log_probs[j]));
    (top.ids[j] >= 0 ? kept : cut) += p;
    if (top.ids[j] < 0) continue;
    out.of[static_cast<size_t>(top.ids[j])] = out.p.size();
    out.p.push_back(p), out.q.push_back(q[static_cast<size_t>(top.ids[j])]);
  }
  bool others = false;
  for (size_t i = 0; i < q.size(); ++i)
    if (out.of[i] == SIZE_MAX) others = true, tail += q[i], out.of[i] = out.p.size();
  const double whole = others && !top.is_sample() ? std::max(1.0 - cut, kept) : kept;
  for (double& p : out.p) p /= whole;
  if (others) out.p.push_back(1.0 - kept / whole), out.q.push_back(tail);
  return out;
}

// The forward KL of a sample: its cross-entropy, less the entropy of the distribution that it is drawn from.
double sampled_forward_kl(const Buckets& all, double entropy) {
  double cross_entropy = 0.0;
  for (size_t j = 0; j < all.p.size(); ++j)
    if (all.p[j] > 0.0) cross_entropy -= all.p[j] * std::log(all.q[j]);
  return cross_entropy - entropy;
}

}  // namespace

double row_loss_reference(const LossTerm& term, const std::vector<float>& logits, const RowTarget& target, double scale,
                          std::vector<double>& gradient) {
  if (const auto* text = std::get_if<CrossEntropy>(&term.form))
    return cross_entropy(*text, logits, target.token, scale, gradient);
  if (std::holds_alternative<AlignedLikelihood>(term.form)) {
    const Values q = softmax(scaled(logits, 1.0));
    for (size_t i = 0; i < q.size(); ++i)
      gradient[i] += scale * target.chunk.slope * ((static_cast<int64_t>(i) == target.token ? 1.0 : 0.0) - q[i]);
    return target.chunk.value;
  }
  const double t = term.temperature;
  const Values q = softmax(scaled(logits, 1.0 / t));
  if (std::holds_alternative<SortedDistance>(term.form)) {
    const auto size = static_cast<size_t>(target.teacher_size > 0 ? target.teacher_size : int64_t(q.size()));
    return t * t *
           sorted_distance(softmax(scaled({target.teacher, target.teacher + size}, 1.0 / t)), q, scale * t, gradient);
  }
  Buckets all;
  if (target.teacher != nullptr) {
    all = {softmax(scaled({target.teacher, target.teacher + q.size()}, 1.0 / t)), q, std::vector<size_t>(q.size())};
    std::iota(all.of.begin(), all.of.end(), size_t{0});
  } else {
    all = buckets_of(q, target.top);
  }
  const Divergence found = std::visit(Definition{all.p, all.q}, term.form);
  double mean = 0.0;
  for (size_t j = 0; j < all.q.size(); ++j) mean += all.q[j] * found.g[j];
  for (size_t i = 0; i < q.size(); ++i) gradient[i] += scale * t * q[i] * (found.g[all.of[i]] - mean);
  if (target.teacher == nullptr && target.top.is_sample() && std::holds_alternative<ForwardKl>(term.form))
    return t * t * sampled_forward_kl(all, static_cast<double>(target.top.entropy));
  return t * t * found.value;
}

}  // namespace attar
