#include "distill/losses/bucket_row.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>

#include "distill/losses/row_sweeps.h"

namespace attar {
namespace {

constexpr double kLeastLog = -27.6;  // log(1e-12): of a probability of nothing, where its logarithm is taken

// The same points with p moved towards q: p_u in proportion to q^(1 - share) * p^share.
std::vector<Likelihood<double>> moved(std::vector<Likelihood<double>> points, double share) {
  double sum = 0.0;
  for (Likelihood<double>& x : points) {
    x.log_p = (1.0 - share) * x.log_q + share * x.log_p;
    sum += std::exp(x.log_p);
  }
  for (Likelihood<double>& x : points) x.log_p -= std::log(sum), x.p = std::exp(x.log_p);
  return points;
}

WeighedKl adapted(const std::vector<Likelihood<double>>& points, double head_mass) {
  std::vector<float> p;
  for (const Likelihood<double>& x : points) p.push_back(static_cast<float>(x.p));
  const double threshold = head_threshold(p, head_mass);
  double head = 0.0, all = 0.0;
  for (const Likelihood<double>& x : points) {
    const double gap = std::abs(x.p - x.q);
    all += gap;
    if (static_cast<double>(static_cast<float>(x.p)) >= threshold) head += gap;
  }
  const double share = all > 0.0 ? head / all : 0.5;
  return {share, 1.0 - share};
}

}  // namespace

double head_threshold(std::vector<float>& probabilities, double mass) {
  size_t begin = 0, end = probabilities.size();
  const auto place = [&](size_t i) { return probabilities.begin() + static_cast<std::ptrdiff_t>(i); };
  while (end - begin > 1) {
    const size_t middle = begin + (end - begin) / 2;
    std::nth_element(place(begin), place(middle), place(end), std::greater<>());
    const double above = std::accumulate(place(begin), place(middle), 0.0);
    if (above >= mass)
      end = middle;
    else
      mass -= above, begin = middle;
  }
  return static_cast<double>(probabilities[begin]);
}

BucketRow::BucketRow(const float* logits, int64_t vocab_size, const TopKRow& teacher, float inverse_t)
    : logits_(logits),
      vocab_size_(vocab_size),
      inverse_t_(inverse_t),
      entropy_(teacher.is_sample() ? static_cast<double>(teacher.entropy) : -1.0) {
  double known = 0.0, cut = 0.0;
  for (int64_t j = 0; j < teacher.k; ++j)
    (teacher.ids[j] >= 0 ? known : cut) += std::exp(static_cast<double>(teacher.log_probs[j]));
  if (known <= 0.0) return;
  find_tail(teacher);
  const auto scaled = [&](int64_t id) { return static_cast<double>(logits[id] * inverse_t); };
  double most = tail_most_;
  for (const int64_t id : kept_) most = std::max(most, scaled(id));
  double sum = tail_sum_ > 0.0 ? tail_sum_ * std::exp(tail_most_ - most) : tail_sum_;
  for (const int64_t id : kept_) sum += std::exp(scaled(id) - most);
  const double lse = most + std::log(sum);
  // What the student can express: the kept tokens and, where it has others, the tail.
  const double whole = tail_sum_ == 0.0 || teacher.is_sample() ? known : std::max(1.0 - cut, known),
               p_tail = 1.0 - known / whole;
  for (int64_t j = 0; j < teacher.k; ++j) {
    if (teacher.ids[j] < 0) continue;
    const double log_p = static_cast<double>(teacher.log_probs[j]) - std::log(whole),
                 log_q = scaled(teacher.ids[j]) - lse;
    points_.push_back({std::max(log_p, kLeastLog), log_q, std::exp(log_p), std::exp(log_q)});
  }
  if (tail_sum_ == 0.0) return;
  const double log_q = tail_most_ + std::log(tail_sum_) - lse;
  points_.push_back({std::max(std::log(p_tail), kLeastLog), log_q, p_tail, std::exp(log_q)});
}

// Beside the row's own largest logit the sum could vanish, and what is left of 1 when the kept set is taken away would
// be rounding: so it is summed with its own.
void BucketRow::find_tail(const TopKRow& teacher) {
  for (int64_t j = 0; j < teacher.k; ++j)
    if (teacher.ids[j] >= 0) kept_.push_back(teacher.ids[j]);
  std::vector<int64_t> ends = kept_;
  std::sort(ends.begin(), ends.end());
  ends.push_back(vocab_size_);
  int64_t begin = 0;
  float most = -HUGE_VALF;
  for (const int64_t id : ends) {
    if (begin < id) {
      off_.push_back({begin, id});
      most = std::max(most, maximum(logits_ + begin, id - begin));
    }
    begin = id + 1;
  }
  most = most == -HUGE_VALF ? 0.0f : most * inverse_t_;
  tail_most_ = static_cast<double>(most);
  for (const Stretch& part : off_)
    tail_sum_ += row_sum_exp(logits_ + part.begin, part.end - part.begin, inverse_t_, most);
}

double BucketRow::add(const LossForm& form, double factor, float* gradient) const {
  if (const auto* taid = std::get_if<Taid>(&form))
    return add_points(moved(points_, taid->share), ForwardKl{}, factor, gradient);
  if (const auto* adaptive = std::get_if<AdaptiveKl>(&form))
    return add_points(points_, adapted(points_, adaptive->head_mass), factor, gradient);
  const double value = add_points(points_, form, factor, gradient);
  if (entropy_ < 0.0 || !std::holds_alternative<ForwardKl>(form)) return value;
  double cross_entropy = 0.0;
  for (const Likelihood<double>& x : points_)
    if (x.p > 0.0) cross_entropy -= x.p * x.log_q;
  return cross_entropy - entropy_;
}

double BucketRow::add_points(const std::vector<Likelihood<double>>& points, const LossForm& form, double factor,
                             float* gradient) const {
  std::vector<double> qgs;
  double value = 0.0, mean = 0.0;
  std::visit(
      [&](const auto& divergence) {
        if constexpr (requires { divergence.at(points[0]); })
          for (const Likelihood<double>& x : points) {
            const Share<double> share = divergence.at(x);
            value += share.value, mean += share.qg;
            qgs.push_back(share.qg);
          }
      },
      form);
  for (size_t j = 0; j < kept_.size(); ++j)
    gradient[kept_[j]] += static_cast<float>(factor * (qgs[j] - points[j].q * mean));
  if (tail_sum_ == 0.0) return value;
  const double tail = factor * (qgs.back() - points.back().q * mean) / tail_sum_;
  for (const Stretch& part : off_)
    add_softmax(logits_ + part.begin, part.end - part.begin, inverse_t_, static_cast<float>(tail_most_),
                static_cast<float>(tail), 0.0f, gradient + part.begin);
  return value;
}

}  // namespace attar
