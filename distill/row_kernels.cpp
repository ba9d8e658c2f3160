#include "distill/row_kernels.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "runtime/base/fast_math.h"

namespace attar {
namespace {

constexpr int64_t kLanes = 16;
constexpr int64_t kChunk = 4096;  // f32 lane sums go into a double after so many

// gradient += factor * exp(x * inverse_t - lse)
ATTAR_VECTOR_CLONES void add_softmax(const float* x, int64_t n, float inverse_t, float lse, float factor,
                                     float* gradient) {
  for (int64_t i = 0; i < n; ++i) gradient[i] += factor * fast_exp(x[i] * inverse_t - lse);
}

// gradient += factor * (q - p); -> sum p (log p - log q)
ATTAR_VECTOR_CLONES float add_kl(const float* z, const float* y, int64_t n, float inverse_t, float z_lse, float y_lse,
                                 float factor, float* gradient) {
  float lanes[kLanes] = {};
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes)
    for (int64_t l = 0; l < kLanes; ++l) {
      const float log_q = z[i + l] * inverse_t - z_lse, log_p = y[i + l] * inverse_t - y_lse;
      const float p = fast_exp(log_p);
      lanes[l] += p * (log_p - log_q);
      gradient[i + l] += factor * (fast_exp(log_q) - p);
    }
  float sum = 0.0f;
  for (int64_t l = 0; l < kLanes; ++l) sum += lanes[l];
  for (; i < n; ++i) {
    const float log_q = z[i] * inverse_t - z_lse, log_p = y[i] * inverse_t - y_lse;
    const float p = fast_exp(log_p);
    sum += p * (log_p - log_q);
    gradient[i] += factor * (fast_exp(log_q) - p);
  }
  return sum;
}

// sum exp(x / t - most) over a part of a row.
double chunked_sum_exp(const float* x, int64_t n, float inverse_t, float most) {
  double sum = 0.0;
  for (int64_t i = 0; i < n; i += kChunk)
    sum += static_cast<double>(sum_exp(x + i, std::min(kChunk, n - i), inverse_t, most));
  return sum;
}

double row_lse(const float* x, int64_t n, float inverse_t) {
  const float most = maximum(x, n) * inverse_t;
  return static_cast<double>(most) + std::log(chunked_sum_exp(x, n, inverse_t, most));
}

// Tokens [begin, end) of a row, none of them in the kept set.
struct Stretch {
  int64_t begin, end;
};

// The row without the kept set: at most k + 1 stretches, in order.
std::vector<Stretch> stretches_off(const int64_t* ids, int64_t k, int64_t vocab_size) {
  std::vector<int64_t> kept;
  for (int64_t j = 0; j < k; ++j)
    if (ids[j] >= 0) kept.push_back(ids[j]);
  std::sort(kept.begin(), kept.end());
  kept.push_back(vocab_size);
  std::vector<Stretch> off;
  int64_t begin = 0;
  for (const int64_t id : kept) {
    if (begin < id) off.push_back({begin, id});
    begin = id + 1;
  }
  return off;
}

// The sum of exp(x / t - most) over stretches, with their own largest x / t: beside the row's it could vanish, and what
// is left of 1 when the kept set is taken away would be rounding.
struct Exponentials {
  double most = 0.0, sum = 0.0;  // sum = 0: no token, or none that can be
};
Exponentials exponentials_of(const float* x, const std::vector<Stretch>& stretches, float inverse_t) {
  float most = -HUGE_VALF;
  for (const Stretch& part : stretches) most = std::max(most, maximum(x + part.begin, part.end - part.begin));
  most = most == -HUGE_VALF ? 0.0f : most * inverse_t;
  Exponentials out{static_cast<double>(most), 0.0};
  for (const Stretch& part : stretches)
    out.sum += chunked_sum_exp(x + part.begin, part.end - part.begin, inverse_t, most);
  return out;
}

// Rounding below 0 is cut off; NaN stays, for the trainer to refuse.
double at_least_zero(double x) {
  return x < 0.0 ? 0.0 : x;
}

std::vector<double> softmax_reference(const float* x, int64_t n, double temperature) {
  std::vector<double> p(static_cast<size_t>(n));
  double most = -HUGE_VAL, sum = 0.0;
  for (int64_t i = 0; i < n; ++i) most = std::max(most, static_cast<double>(x[i]) / temperature);
  for (int64_t i = 0; i < n; ++i)
    sum += p[static_cast<size_t>(i)] = std::exp(static_cast<double>(x[i]) / temperature - most);
  for (double& value : p) value /= sum;
  return p;
}

}  // namespace

double cross_entropy_row(const float* logits, int64_t vocab_size, int64_t target, float scale, float* gradient) {
  const double lse = row_lse(logits, vocab_size, 1.0f);
  add_softmax(logits, vocab_size, 1.0f, static_cast<float>(lse), scale, gradient);
  gradient[target] -= scale;
  return lse - static_cast<double>(logits[target]);
}

double forward_kl_row(const float* logits, const float* teacher, int64_t vocab_size, double temperature, float scale,
                      float* gradient) {
  const auto inverse_t = static_cast<float>(1.0 / temperature), factor = static_cast<float>(temperature) * scale;
  const auto z_lse = static_cast<float>(row_lse(logits, vocab_size, inverse_t)),
             y_lse = static_cast<float>(row_lse(teacher, vocab_size, inverse_t));
  double kl = 0.0;
  for (int64_t i = 0; i < vocab_size; i += kChunk)
    kl += static_cast<double>(add_kl(logits + i, teacher + i, std::min(kChunk, vocab_size - i), inverse_t, z_lse, y_lse,
                                     factor, gradient + i));
  return temperature * temperature * at_least_zero(kl);
}

double forward_kl_top_k_row(const float* logits, int64_t vocab_size, const int64_t* ids, const float* log_probs,
                            int64_t k, double temperature, float scale, float* gradient) {
  double kept = 0.0, cut = 0.0;
  for (int64_t j = 0; j < k; ++j) (ids[j] >= 0 ? kept : cut) += std::exp(static_cast<double>(log_probs[j]));
  if (kept <= 0.0) return 0.0;
  const auto inverse_t = static_cast<float>(1.0 / temperature);
  const std::vector<Stretch> off = stretches_off(ids, k, vocab_size);
  const Exponentials tail = exponentials_of(logits, off, inverse_t);
  double most = tail.most;
  for (int64_t j = 0; j < k; ++j)
    if (ids[j] >= 0) most = std::max(most, static_cast<double>(logits[ids[j]] * inverse_t));
  double sum = tail.sum > 0.0 ? tail.sum * std::exp(tail.most - most) : tail.sum;
  for (int64_t j = 0; j < k; ++j)
    if (ids[j] >= 0) sum += std::exp(static_cast<double>(logits[ids[j]] * inverse_t) - most);
  const double lse = most + std::log(sum), log_q_tail = tail.most + std::log(tail.sum) - lse;
  // What the student can express: the kept tokens and, where it has others, the tail.
  const double whole = tail.sum == 0.0 ? kept : std::max(1.0 - cut, kept);
  const double p_tail = 1.0 - kept / whole, factor = temperature * static_cast<double>(scale);
  double loss = p_tail > 0.0 ? p_tail * (std::log(p_tail) - log_q_tail) : 0.0;
  for (int64_t j = 0; j < k; ++j) {
    if (ids[j] < 0) continue;
    const double log_q = static_cast<double>(logits[ids[j]] * inverse_t) - lse,
                 log_p = static_cast<double>(log_probs[j]) - std::log(whole);
    if (std::isfinite(log_p)) loss += std::exp(log_p) * (log_p - log_q);
    gradient[ids[j]] += static_cast<float>(factor * (std::exp(log_q) - std::exp(log_p)));
  }
  const double each = factor * (std::exp(log_q_tail) - p_tail) / tail.sum;  // of exp(z / t - most of the tail)
  if (tail.sum != 0.0)
    for (const Stretch& part : off)
      add_softmax(logits + part.begin, part.end - part.begin, inverse_t, static_cast<float>(tail.most),
                  static_cast<float>(each), gradient + part.begin);
  return temperature * temperature * at_least_zero(loss);
}

double cross_entropy_row_reference(const float* logits, int64_t vocab_size, int64_t target, float scale,
                                   float* gradient) {
  const std::vector<double> q = softmax_reference(logits, vocab_size, 1.0);
  for (int64_t i = 0; i < vocab_size; ++i)
    gradient[i] +=
        static_cast<float>(static_cast<double>(scale) * (q[static_cast<size_t>(i)] - (i == target ? 1.0 : 0.0)));
  return -std::log(q[static_cast<size_t>(target)]);
}

double forward_kl_row_reference(const float* logits, const float* teacher, int64_t vocab_size, double temperature,
                                float scale, float* gradient) {
  const std::vector<double> q = softmax_reference(logits, vocab_size, temperature),
                            p = softmax_reference(teacher, vocab_size, temperature);
  double kl = 0.0;
  for (size_t i = 0; i < p.size(); ++i) {
    if (p[i] > 0.0) kl += p[i] * std::log(p[i] / q[i]);
    gradient[i] += static_cast<float>(static_cast<double>(scale) * temperature * (q[i] - p[i]));
  }
  return temperature * temperature * kl;
}

double forward_kl_top_k_row_reference(const float* logits, int64_t vocab_size, const int64_t* ids,
                                      const float* log_probs, int64_t k, double temperature, float scale,
                                      float* gradient) {
  std::vector<double> p(static_cast<size_t>(vocab_size), -1.0);  // -1: off the kept set
  double kept = 0.0, cut = 0.0, tail = 0.0;
  for (int64_t j = 0; j < k; ++j) {
    const double value = std::exp(static_cast<double>(log_probs[j]));
    (ids[j] >= 0 ? kept : cut) += value;
    if (ids[j] >= 0) p[static_cast<size_t>(ids[j])] = value;
  }
  if (kept <= 0.0) return 0.0;
  const std::vector<double> q = softmax_reference(logits, vocab_size, temperature);
  for (size_t i = 0; i < p.size(); ++i) tail += p[i] < 0.0 ? q[i] : 0.0;
  const double whole = tail == 0.0 ? kept : std::max(1.0 - cut, kept), p_tail = 1.0 - kept / whole;
  double loss = p_tail > 0.0 ? p_tail * std::log(p_tail / tail) : 0.0;
  for (size_t i = 0; i < p.size(); ++i) {
    const double wanted = p[i] < 0.0 ? p_tail * q[i] / tail : p[i] / whole;
    if (p[i] > 0.0) loss += wanted * std::log(wanted / q[i]);
    gradient[i] += static_cast<float>(static_cast<double>(scale) * temperature * (q[i] - wanted));
  }
  return temperature * temperature * loss;
}

}  // namespace attar
