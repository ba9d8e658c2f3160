// All terms of a training over one row of logits (V): the sums over the vocabulary that terms share are made once, and
// each term adds its gradient. A teacher is all of its logits, or its likeliest tokens.
#pragma once

#include <cstdint>
#include <vector>

#include "distill/losses/bucket_row.h"
#include "distill/losses/loss_term.h"
#include "distill/losses/row_sweeps.h"

namespace attar {

// Of aligned_likelihood: what a row adds to the loss, and its slope by the log-probability of the row's token.
struct ChunkShare {
  double value = 0.0, slope = 0.0;
};

// What a row should predict; a field that no term needs may be empty. With `teacher`, `top` is not asked.
struct RowTarget {
  int64_t token = 0;               // that stands there in the text
  const float* teacher = nullptr;  // (V) logits, or (teacher_size) of another vocabulary
  int64_t teacher_size = 0;        // 0: V
  TopKRow top{};
  ChunkShare chunk{};
};

class RowLosses {
 public:
  RowLosses(const std::vector<LossTerm>& terms, int64_t vocab_size) : terms_(terms), vocab_size_(vocab_size) {}

  // gradient (V) += scale * d(sum over terms of weight * loss)/d(logits). values (terms): the loss of each, unweighted;
  // of a teacher that says nothing 0.
  void add(const float* logits, const RowTarget& target, double scale, float* gradient, double* values);

 private:
  struct Lse {
    const float* row;
    float inverse_t;
    double value;
  };
  double lse(const float* row, float inverse_t);  // kept until the next row
  RowPair pair(const float* logits, const float* teacher, float inverse_t);
  double add_term(const LossTerm& term, const float* logits, const RowTarget& target, double scale, float* gradient);
  double add_cross_entropy(const CrossEntropy& form, const float* logits, int64_t token, double scale, float* gradient);
  double add_chunk(const ChunkShare& chunk, const float* logits, int64_t token, double scale, float* gradient);
  double add_sorted_distance(const float* logits, const RowTarget& target, float inverse_t, double factor,
                             float* gradient);
  double add_divergence(const LossForm& form, const RowPair& row, double factor, float* gradient);
  WeighedKl adapted(const RowPair& row, double head_mass);

  const std::vector<LossTerm>& terms_;
  int64_t vocab_size_;
  std::vector<Lse> lses_;
  std::vector<float> mixed_, p_, gap_, q_;  // (V), p_ of the teacher's vocabulary, where a term needs them
  std::vector<int64_t> order_;              // (V)
};

}  // namespace attar
