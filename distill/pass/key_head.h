// Causal softmax attention of one document seen through one key head (Vaswani et al. 2017, arXiv 1706.03762, section
// 3.2.1), forward and backward in f32. Queries come in blocks of positions of one head; the way back computes their
// weights again from the logarithm of their sum (Dao et al. 2022, arXiv 2205.14135, section 3.1), so memory grows with
// the document's length and not with its square.
#pragma once

#include <cstdint>
#include <vector>

namespace attar {

struct AttentionShape {
  int64_t length, dim;  // T keys, and D numbers of each
  int64_t window;       // a query sees so many keys, its own with them; 0: all that came before
  float scale;          // of the scores
};

class KeyHead {
 public:
  static constexpr int64_t kQueries = 32;  // of a block, at most

  // Takes the memory of earlier documents again. Then the caller writes rows of keys and values, and calls `turn`.
  void start(const AttentionShape& shape, bool backward);
  float* key(int64_t t) { return keys_.data() + t * width_; }      // (D)
  float* value(int64_t t) { return values_.data() + t * width_; }  // (D)
  void turn();

  // Rows of a block, written by the caller: query(0 .. count); for the way back also what forward gave.
  float* query(int64_t r) { return queries_.data() + r * width_; }
  float* mixed(int64_t r) { return mixed_.data() + r * width_; }
  float* by_mixed(int64_t r) { return by_mixed_.data() + r * width_; }
  float& log_sum(int64_t r) { return log_sums_[r]; }

  // Of queries at positions first .. first + count: `mixed` and `log_sum` from `query`, which is scaled.
  void forward(int64_t first, int64_t count);
  // `by_query` from all of these; what the block says of keys and values is added to that of earlier ones.
  void backward(int64_t first, int64_t count);
  const float* by_query(int64_t r) const { return by_queries_.data() + r * width_; }
  const float* by_key(int64_t t) const { return by_keys_.data() + t * width_; }
  float* by_value(int64_t t) { return by_values_.data() + t * width_; }

 private:
  struct Seen;  // the keys that a block's queries see between them
  Seen seen_by(int64_t first, int64_t count) const;
  void score(const Seen& seen);

  AttentionShape shape_{};
  bool backward_ = false;
  int64_t width_ = 0, room_ = 0;  // D and T rounded up to whole registers; what lies behind them is 0
  std::vector<float> keys_, values_, across_keys_, across_values_;  // (T, D) twice, (D, T) twice
  std::vector<float> queries_, mixed_, by_mixed_, by_queries_;      // (kQueries, D)
  std::vector<float> scores_, by_scores_;                           // (kQueries, T): of the keys that are seen
  std::vector<float> by_keys_, by_values_;                          // (T, D)
  float log_sums_[kQueries]{};
};

}  // namespace attar
