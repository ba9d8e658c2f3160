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

double row_lse(const float* x, int64_t n, float inverse_t) {
  const float most = maximum(x, n) * inverse_t;
  double sum = 0.0;
  for (int64_t i = 0; i < n; i += kChunk)
    sum += static_cast<double>(sum_exp(x + i, std::min(kChunk, n - i), inverse_t, most));
  return static_cast<double>(most) + std::log(sum);
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
  const double whole = std::max(1.0 - cut, kept);  // what the student can express: the kept tokens and the tail
  const double p_tail = std::max(0.0, 1.0 - kept / whole);
  const auto inverse_t = static_cast<float>(1.0 / temperature);
  const double lse = row_lse(logits, vocab_size, inverse_t);
  double q_kept = 0.0, loss = 0.0;
  for (int64_t j = 0; j < k; ++j) {
    if (ids[j] < 0) continue;
    const double log_q = static_cast<double>(logits[ids[j]] * inverse_t) - lse,
                 log_p = static_cast<double>(log_probs[j]) - std::log(whole);
    q_kept += std::exp(log_q);
    loss += std::exp(log_p) * (log_p - log_q);
  }
  const double q_tail = std::max(1e-12, 1.0 - q_kept);
  if (p_tail > 0.0) loss += p_tail * std::log(p_tail / q_tail);
  // Off S the gradient is q (1 - p_tail / q_tail); on S it is q - p, put over the sweep's value: between two tails of
  // almost nothing the ratio is anything up to 1e5, and taking it away again would leave its rounding behind.
  std::vector<float> before(static_cast<size_t>(k));
  for (int64_t j = 0; j < k; ++j)
    if (ids[j] >= 0) before[static_cast<size_t>(j)] = gradient[ids[j]];
  const double ratio = p_tail / q_tail, factor = temperature * static_cast<double>(scale);
  add_softmax(logits, vocab_size, inverse_t, static_cast<float>(lse), static_cast<float>(factor * (1.0 - ratio)),
              gradient);
  for (int64_t j = 0; j < k; ++j) {
    if (ids[j] < 0) continue;
    const double q = std::exp(static_cast<double>(logits[ids[j]] * inverse_t) - lse),
                 p = std::exp(static_cast<double>(log_probs[j])) / whole;
    gradient[ids[j]] = before[static_cast<size_t>(j)] + static_cast<float>(factor * (q - p));
  }
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

}  // namespace attar
