#include "distill/losses/row_losses.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>

namespace attar {
namespace {

// Rounding below 0 is cut off; NaN stays, for the trainer to refuse.
double at_least_zero(double x) {
  return x < 0.0 ? 0.0 : x;
}

}  // namespace

void RowLosses::add(const float* logits, const RowTarget& target, double scale, float* gradient, double* values) {
  lses_.clear();
  for (size_t t = 0; t < terms_.size(); ++t)
    values[t] = add_term(terms_[t], logits, target, scale * terms_[t].weight, gradient);
}

double RowLosses::lse(const float* row, float inverse_t) {
  for (const Lse& known : lses_)
    if (known.row == row && known.inverse_t == inverse_t) return known.value;
  return lses_.emplace_back(Lse{row, inverse_t, row_lse(row, vocab_size_, inverse_t)}).value;
}

RowPair RowLosses::pair(const float* logits, const float* teacher, float inverse_t) {
  return {logits,
          teacher,
          vocab_size_,
          inverse_t,
          static_cast<float>(lse(logits, inverse_t)),
          static_cast<float>(lse(teacher, inverse_t))};
}

double RowLosses::add_term(const LossTerm& term, const float* logits, const RowTarget& target, double scale,
                           float* gradient) {
  if (const auto* text = std::get_if<CrossEntropy>(&term.form))
    return add_cross_entropy(*text, logits, target.token, scale, gradient);
  if (std::holds_alternative<AlignedLikelihood>(term.form))
    return add_chunk(target.chunk, logits, target.token, scale, gradient);
  const double t = term.temperature;
  const auto inverse_t = static_cast<float>(1.0 / t);
  if (std::holds_alternative<SortedDistance>(term.form))
    return target.teacher == nullptr ? 0.0
                                     : t * t * add_sorted_distance(logits, target, inverse_t, t * scale, gradient);
  if (target.teacher == nullptr) {
    const BucketRow row(logits, vocab_size_, target.top, inverse_t);
    if (row.empty()) return 0.0;
    const double value = row.add(term.form, t * scale, gradient);
    return t * t * (target.top.is_sample() ? value : at_least_zero(value));
  }
  const float* teacher = target.teacher;
  if (const auto* taid = std::get_if<Taid>(&term.form)) {
    const auto share = static_cast<float>(taid->share);
    mixed_.resize(static_cast<size_t>(vocab_size_));
    mix_rows(logits, 1.0f - share, teacher, share, vocab_size_, mixed_.data());
    teacher = mixed_.data();
  }
  return t * t * at_least_zero(add_divergence(term.form, pair(logits, teacher, inverse_t), t * scale, gradient));
}

double RowLosses::add_cross_entropy(const CrossEntropy& form, const float* logits, int64_t token, double scale,
                                    float* gradient) {
  const double all = lse(logits, 1.0f), own = 1.0 - form.label_smoothing,
               each = form.label_smoothing / static_cast<double>(vocab_size_);
  add_softmax(logits, vocab_size_, 1.0f, static_cast<float>(all),
              static_cast<float>(scale * (1.0 + 2.0 * form.z_loss * all)), static_cast<float>(-scale * each), gradient);
  gradient[token] -= static_cast<float>(scale * own);
  const double of_all = form.label_smoothing > 0.0 ? each * row_sum(logits, vocab_size_) : 0.0;
  return all - own * static_cast<double>(logits[token]) - of_all + form.z_loss * all * all;
}

// Cross-entropy's gradient, weighed.
double RowLosses::add_chunk(const ChunkShare& chunk, const float* logits, int64_t token, double scale,
                            float* gradient) {
  if (chunk.slope == 0.0) return chunk.value;
  const double factor = scale * chunk.slope;
  add_softmax(logits, vocab_size_, 1.0f, static_cast<float>(lse(logits, 1.0f)), static_cast<float>(-factor), 0.0f,
              gradient);
  gradient[token] += static_cast<float>(factor);
  return chunk.value;
}

// By q of rank i the distance grows with the sign of q - p of that rank; a probability that has no partner falls to 0.
double RowLosses::add_sorted_distance(const float* logits, const RowTarget& target, float inverse_t, double factor,
                                      float* gradient) {
  const int64_t teacher_size = target.teacher_size > 0 ? target.teacher_size : vocab_size_;
  const double all = lse(logits, inverse_t), all_p = row_lse(target.teacher, teacher_size, inverse_t);
  if (!std::isfinite(all) || !std::isfinite(all_p)) return std::nan("");
  q_.assign(static_cast<size_t>(vocab_size_), 0.0f), p_.assign(static_cast<size_t>(teacher_size), 0.0f);
  add_softmax(logits, vocab_size_, inverse_t, static_cast<float>(all), 1.0f, 0.0f, q_.data());
  add_softmax(target.teacher, teacher_size, inverse_t, static_cast<float>(all_p), 1.0f, 0.0f, p_.data());
  std::sort(p_.begin(), p_.end(), std::greater<>());
  order_.resize(q_.size());
  std::iota(order_.begin(), order_.end(), int64_t{0});
  const auto probability = [&](int64_t i) { return q_[static_cast<size_t>(i)]; };
  std::sort(order_.begin(), order_.end(), [&](int64_t a, int64_t b) {
    return probability(a) != probability(b) ? probability(a) > probability(b) : a < b;
  });
  const auto difference = [&](size_t rank) {
    return static_cast<double>(probability(order_[rank])) - (rank < p_.size() ? static_cast<double>(p_[rank]) : 0.0);
  };
  const auto sign = [](double x) { return x > 0.0 ? 1.0 : x < 0.0 ? -1.0 : 0.0; };
  double value = 0.0, mean = 0.0;
  for (size_t rank = 0; rank < order_.size(); ++rank) {
    const double d = difference(rank);
    value += std::abs(d), mean += sign(d) * static_cast<double>(probability(order_[rank]));
  }
  for (size_t rank = order_.size(); rank < p_.size(); ++rank) value += static_cast<double>(p_[rank]);
  for (size_t rank = 0; rank < order_.size(); ++rank)
    gradient[order_[rank]] +=
        static_cast<float>(factor * static_cast<double>(probability(order_[rank])) * (sign(difference(rank)) - mean));
  return value;
}

double RowLosses::add_divergence(const LossForm& form, const RowPair& row, double factor, float* gradient) {
  if (const auto* adaptive = std::get_if<AdaptiveKl>(&form))
    return add_divergence(adapted(row, adaptive->head_mass), row, factor, gradient);
  if (std::holds_alternative<ForwardKl>(form) || std::holds_alternative<Taid>(form))
    return add_forward_kl(row, factor, gradient);
  const DivergenceSums sums = divergence_sums(row, form);
  add_divergence_gradient(row, form, sums.mean, factor, gradient);
  return sums.value;
}

WeighedKl RowLosses::adapted(const RowPair& row, double head_mass) {
  p_.resize(static_cast<size_t>(row.n)), gap_.resize(static_cast<size_t>(row.n));
  row_probabilities(row, p_.data(), gap_.data());
  std::vector<float> sorted = p_;
  const auto threshold = static_cast<float>(head_threshold(sorted, head_mass));
  double head = 0.0, all = 0.0;
  for (size_t i = 0; i < gap_.size(); ++i) {
    all += static_cast<double>(gap_[i]);
    if (p_[i] >= threshold) head += static_cast<double>(gap_[i]);
  }
  const double share = all > 0.0 ? head / all : 0.5;
  return {share, 1.0 - share};
}

}  // namespace attar
