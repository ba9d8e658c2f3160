// What is learned from a chunk, a stretch of text that two tokenizers spell with other tokens: how likely all of it is,
// by the chain rule, to the teacher and to the student (approximate likelihood matching, Minixhofer et al. 2025, arXiv
// 2503.20083, section 3).
#pragma once

namespace attar {

struct ChunkLoss {
  double value = 0.0;
  double slope = 0.0;  // by the student's log-likelihood of the chunk, and so by that of each of its tokens
};

// temperature * KL(Bernoulli(p^(1/temperature)) || Bernoulli(q^(1/temperature))) for log p of the teacher and log q of
// the student, in nats. The factor keeps the slope at any temperature of the size of cross-entropy's: at a high one it
// comes near 1 - log p / log q. Likelihoods above 1 - 1e-6 count as that, where the other outcome's would be rounding.
ChunkLoss chunk_loss(double teacher_log_p, double student_log_q, double temperature);

}  // namespace attar
