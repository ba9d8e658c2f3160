// One row whose teacher is known by its k likeliest tokens: those and everything else as one bucket ("ghost token").
// Any divergence of the k + 1 probabilities has a gradient by all logits; off the kept set it is dealt out as q is.
#pragma once

#include <cstdint>
#include <vector>

#include "distill/losses/loss_term.h"

namespace attar {

struct TopKRow {
  const int64_t* ids = nullptr;      // (k) differ from each other, below the vocabulary's size; -1: none, or one that
  const float* log_probs = nullptr;  // (k) the student does not have: p is renormalised without it
  int64_t k = 0;
  // Of the distribution that the entries are a sample of, which then have all of its mass: their forward KL is the
  // cross-entropy against them less this, and right in the mean (below 0 at times). Negative: they are no sample.
  float entropy = -1.0f;
  bool is_sample() const { return entropy >= 0.0f; }
};

class BucketRow {
 public:
  // logits (V) of the student; the teacher's log-probabilities are at the same temperature 1 / inverse_t.
  BucketRow(const float* logits, int64_t vocab_size, const TopKRow& teacher, float inverse_t);

  // No entry is usable: the teacher says nothing.
  bool empty() const { return points_.empty(); }

  // gradient += factor * d divergence / d (logits * inverse_t); -> the divergence. Not of a cross-entropy.
  double add(const LossForm& form, double factor, float* gradient) const;

 private:
  struct Stretch {  // tokens [begin, end), none of them kept
    int64_t begin, end;
  };
  void find_tail(const TopKRow& teacher);
  double add_points(const std::vector<Likelihood<double>>& points, const LossForm& form, double factor,
                    float* gradient) const;

  const float* logits_;
  int64_t vocab_size_;
  float inverse_t_;
  std::vector<int64_t> kept_;
  std::vector<Stretch> off_;
  double tail_most_ = 0.0, tail_sum_ = 0.0;  // sum off the kept set of exp(z / t - most), most its own largest
  std::vector<Likelihood<double>> points_;   // of kept_, then of the tail where it has tokens
  double entropy_;                           // as in TopKRow
};

// The least probability of the likeliest tokens whose probabilities add up to `mass`, at least one of them. Reorders.
double head_threshold(std::vector<float>& probabilities, double mass);

}  // namespace attar
