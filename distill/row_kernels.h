// Losses and gradients of one row of logits, (V), in plain vectorised code. Each is added to `gradient`, times `scale`.
// Closed forms: with q = softmax(z / t) and any divergence of (p, q), loss = t^2 * divergence (Hinton et al. 2015,
// arXiv 1503.02531, section 2), so d loss / d z = t * (q - p) for the forward KL.
#pragma once

#include <cstdint>

namespace attar {

// -log softmax(z)[target]
double cross_entropy_row(const float* logits, int64_t vocab_size, int64_t target, float scale, float* gradient);

// t^2 * KL(softmax(y / t) || softmax(z / t))
double forward_kl_row(const float* logits, const float* teacher, int64_t vocab_size, double temperature, float scale,
                      float* gradient);

// The teacher's k likeliest tokens at temperature t, and everything else as one bucket ("ghost token"):
//   loss = t^2 * (sum_S p log(p / q) + p_tail log(p_tail / q_tail))
//   gradient: t * (q - p) on S; off S its sum t * (q_tail - p_tail), dealt out as q is
// Ids differ from each other and lie below vocab_size.
// Entries with id < 0 and a probability are tokens the student does not have: p is renormalised without them. A row
// with no usable entry adds nothing.
double forward_kl_top_k_row(const float* logits, int64_t vocab_size, const int64_t* ids, const float* log_probs,
                            int64_t k, double temperature, float scale, float* gradient);

// The same in double and without tricks, for tests.
double cross_entropy_row_reference(const float* logits, int64_t vocab_size, int64_t target, float scale,
                                   float* gradient);
double forward_kl_row_reference(const float* logits, const float* teacher, int64_t vocab_size, double temperature,
                                float scale, float* gradient);
double forward_kl_top_k_row_reference(const float* logits, int64_t vocab_size, const int64_t* ids,
                                      const float* log_probs, int64_t k, double temperature, float scale,
                                      float* gradient);

}  // namespace attar
