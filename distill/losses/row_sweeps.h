// Sweeps over one row of logits, (V), in plain vectorised code: f32 lanes whose sums go into doubles every few thousand
// tokens.
#pragma once

#include <cstdint>

#include "distill/losses/loss_term.h"

namespace attar {

// log sum exp(x * inverse_t)
double row_lse(const float* x, int64_t n, float inverse_t);
// sum exp(x * inverse_t - most)
double row_sum_exp(const float* x, int64_t n, float inverse_t, float most);

// of softmax(x), in nats
double row_entropy(const float* x, int64_t n);

// gradient += factor * exp(x * inverse_t - offset) + constant
void add_softmax(const float* x, int64_t n, float inverse_t, float offset, float factor, float constant,
                 float* gradient);
double row_sum(const float* x, int64_t n);
// out = a * x + b * y
void mix_rows(const float* x, float a, const float* y, float b, int64_t n, float* out);

// A student's and a teacher's logits with what makes log-probabilities of them: x * inverse_t - lse.
struct RowPair {
  const float *z, *y;
  int64_t n;
  float inverse_t, z_lse, y_lse;
};

// What one row says of a divergence: its value, and the mean of the student's g (divergence.h).
struct DivergenceSums {
  double value = 0.0, mean = 0.0;
};
// `form` is one of divergence.h.
DivergenceSums divergence_sums(const RowPair& row, const LossForm& form);
// gradient += factor * (qg - q * mean)
void add_divergence_gradient(const RowPair& row, const LossForm& form, double mean, double factor, float* gradient);

// KL(p || q) alone, whose mean is -1 whatever the row: one sweep for both. -> its value
double add_forward_kl(const RowPair& row, double factor, float* gradient);

// p, q and their differences of a row, for who asks where they differ.
void row_probabilities(const RowPair& row, float* p, float* gap);

}  // namespace attar
