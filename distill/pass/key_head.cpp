#include "distill/pass/key_head.h"

#include <algorithm>
#include <cmath>

#include "runtime/base/fast_math.h"
#include "runtime/base/host/cpu.h"

namespace attar {
namespace {

constexpr int64_t kLanes = 16;
struct Wide {  // a register of 512 bits
  typedef float V __attribute__((vector_size(4 * kLanes), may_alias, aligned(4)));
};
struct Narrow {  // of 256: what would be 512 is spilled there
  typedef float V __attribute__((vector_size(2 * kLanes), may_alias, aligned(4)));
};

int64_t whole_registers(int64_t n) {
  return (n + kLanes - 1) / kLanes * kLanes;
}

// c (m, n) = a (m, depth) * b (depth, n), or added to it. Rows of b and c are contiguous, m is a multiple of 8, n of
// kLanes. Each result is one chain over depth, in ascending order.
struct Product {
  const float* a;
  int64_t a_row, a_step;  // from a row to the next, from a column to the next
  const float* b;
  int64_t b_row;
  float* c;
  int64_t c_row;
  int64_t m, n, depth;
  bool add = false;
};

template <class Register, int kRows, int kWide>
inline __attribute__((always_inline)) void tile(const Product& p, int64_t row, int64_t column) {
  using V = typename Register::V;
  constexpr int64_t kLength = sizeof(V) / sizeof(float);
  const float* a = p.a + row * p.a_row;
  const float* b = p.b + column;
  float* c = p.c + row * p.c_row + column;
  V sum[kRows][kWide];
  for (int i = 0; i < kRows; ++i)
    for (int j = 0; j < kWide; ++j)
      sum[i][j] = p.add ? *reinterpret_cast<const V*>(c + i * p.c_row + j * kLength) : V{};
  for (int64_t k = 0; k < p.depth; ++k, a += p.a_step, b += p.b_row) {
    V given[kWide];
    for (int j = 0; j < kWide; ++j) given[j] = *reinterpret_cast<const V*>(b + j * kLength);
    for (int i = 0; i < kRows; ++i)
      for (int j = 0; j < kWide; ++j) sum[i][j] += a[i * p.a_row] * given[j];
  }
  for (int i = 0; i < kRows; ++i)
    for (int j = 0; j < kWide; ++j) *reinterpret_cast<V*>(c + i * p.c_row + j * kLength) = sum[i][j];
}

// As many sums as the registers hold: 32 of 16 floats, or 16 of 8.
ATTAR_VECTOR_CLONES void wide_product(const Product& p) {
  int64_t column = 0;
  for (; column + 2 * kLanes <= p.n; column += 2 * kLanes)
    for (int64_t row = 0; row < p.m; row += 8) tile<Wide, 8, 2>(p, row, column);
  if (column < p.n)
    for (int64_t row = 0; row < p.m; row += 8) tile<Wide, 8, 1>(p, row, column);
}
ATTAR_VECTOR_CLONES void narrow_product(const Product& p) {
  for (int64_t column = 0; column < p.n; column += kLanes)
    for (int64_t row = 0; row < p.m; row += 4) tile<Narrow, 4, 2>(p, row, column);
}
void multiply(const Product& p) {
  static const bool wide = cpu_features().avx512;
  (wide ? wide_product : narrow_product)(p);
}

ATTAR_VECTOR_CLONES void scale_row(float* x, int64_t n, float factor) {
  for (int64_t i = 0; i < n; ++i) x[i] *= factor;
}

ATTAR_VECTOR_CLONES void exponentials(float* x, int64_t n, float offset) {
  for (int64_t i = 0; i < n; ++i) x[i] = fast_exp(x[i] - offset);
}

// Sums of sixteen lanes, in an order that no instruction set changes; n is a multiple of kLanes.
ATTAR_VECTOR_CLONES float sum_of(const float* x, int64_t n) {
  float lanes[kLanes] = {}, sum = 0.0f;
  for (int64_t i = 0; i < n; i += kLanes)
    for (int64_t l = 0; l < kLanes; ++l) lanes[l] += x[i + l];
  for (const float lane : lanes) sum += lane;
  return sum;
}
ATTAR_VECTOR_CLONES float dot(const float* x, const float* y, int64_t n) {
  float lanes[kLanes] = {}, sum = 0.0f;
  for (int64_t i = 0; i < n; i += kLanes)
    for (int64_t l = 0; l < kLanes; ++l) lanes[l] += x[i + l] * y[i + l];
  for (const float lane : lanes) sum += lane;
  return sum;
}

// by_score = weight * (by_weight - along)
ATTAR_VECTOR_CLONES void through_softmax(const float* weight, float along, int64_t n, float* by_weight) {
  for (int64_t i = 0; i < n; ++i) by_weight[i] = weight[i] * (by_weight[i] - along);
}

// (rows, columns) of `width` floats a row -> (columns, rows) of `height` a row
void turn_over(const float* from, int64_t rows, int64_t columns, int64_t width, float* to, int64_t height) {
  for (int64_t r = 0; r < rows; r += kLanes)
    for (int64_t c = 0; c < columns; ++c)
      for (int64_t i = r; i < std::min(r + kLanes, rows); ++i) to[c * height + i] = from[i * width + c];
}

}  // namespace

struct KeyHead::Seen {
  int64_t first, count;  // queries
  int64_t begin, n;      // keys: whole registers of them
  int64_t window;

  // Among the n keys those of query r.
  int64_t low(int64_t r) const { return window == 0 ? 0 : std::max<int64_t>(0, first + r + 1 - window - begin); }
  int64_t high(int64_t r) const { return first + r + 1 - begin; }
};

KeyHead::Seen KeyHead::seen_by(int64_t first, int64_t count) const {
  const int64_t oldest = shape_.window == 0 ? 0 : std::max<int64_t>(0, first + 1 - shape_.window),
                begin = oldest / kLanes * kLanes;
  return {first, count, begin, whole_registers(first + count - begin), shape_.window};
}

void KeyHead::start(const AttentionShape& shape, bool backward) {
  shape_ = shape;
  width_ = whole_registers(shape.dim), room_ = whole_registers(shape.length);
  for (std::vector<float>* x : {&keys_, &values_, &across_keys_}) x->assign(static_cast<size_t>(room_ * width_), 0.0f);
  for (std::vector<float>* x : {&queries_, &mixed_}) x->assign(static_cast<size_t>(kQueries * width_), 0.0f);
  scores_.resize(static_cast<size_t>(kQueries * room_));
  backward_ = backward;
  if (!backward) return;
  for (std::vector<float>* x : {&across_values_, &by_keys_, &by_values_})
    x->assign(static_cast<size_t>(room_ * width_), 0.0f);
  for (std::vector<float>* x : {&by_mixed_, &by_queries_}) x->assign(static_cast<size_t>(kQueries * width_), 0.0f);
  by_scores_.resize(static_cast<size_t>(kQueries * room_));
}

void KeyHead::turn() {
  turn_over(keys_.data(), shape_.length, shape_.dim, width_, across_keys_.data(), room_);
  if (backward_) turn_over(values_.data(), shape_.length, shape_.dim, width_, across_values_.data(), room_);
}

// scores (kQueries, n) = scale * query * key; rows behind the block's are those of queries that are 0.
void KeyHead::score(const Seen& seen) {
  std::fill(queries_.begin() + seen.count * width_, queries_.end(), 0.0f);
  scale_row(queries_.data(), seen.count * width_, shape_.scale);
  multiply({queries_.data(), width_, 1, across_keys_.data() + seen.begin, room_, scores_.data(), room_, kQueries,
            seen.n, shape_.dim});
}

void KeyHead::forward(int64_t first, int64_t count) {
  const Seen seen = seen_by(first, count);
  score(seen);
  float sums[kQueries];
  for (int64_t r = 0; r < count; ++r) {
    float* x = scores_.data() + r * room_;
    const int64_t low = seen.low(r), high = seen.high(r);
    const float most = maximum(x + low, high - low);
    exponentials(x + low, high - low, most);
    std::fill_n(x, low, 0.0f), std::fill(x + high, x + seen.n, 0.0f);
    sums[r] = sum_of(x, seen.n);
    log_sums_[r] = most + std::log(sums[r]);
  }
  multiply({scores_.data(), room_, 1, value(seen.begin), width_, mixed_.data(), width_, kQueries, width_, seen.n});
  for (int64_t r = 0; r < count; ++r) scale_row(mixed(r), width_, 1.0f / sums[r]);
}

void KeyHead::backward(int64_t first, int64_t count) {
  const Seen seen = seen_by(first, count);
  for (std::vector<float>* x : {&mixed_, &by_mixed_}) std::fill(x->begin() + count * width_, x->end(), 0.0f);
  score(seen);
  multiply({by_mixed_.data(), width_, 1, across_values_.data() + seen.begin, room_, by_scores_.data(), room_, kQueries,
            seen.n, shape_.dim});
  for (int64_t r = 0; r < kQueries; ++r) {
    float *x = scores_.data() + r * room_, *by_x = by_scores_.data() + r * room_;
    const int64_t low = r < count ? seen.low(r) : 0, high = r < count ? seen.high(r) : 0;
    if (r < count) exponentials(x + low, high - low, log_sums_[r]);
    std::fill_n(x, low, 0.0f), std::fill(x + high, x + seen.n, 0.0f);
    through_softmax(x, dot(mixed(r), by_mixed(r), width_), seen.n, by_x);
  }
  multiply({scores_.data(), 1, room_, by_mixed_.data(), width_, by_values_.data() + seen.begin * width_, width_, seen.n,
            width_, count, true});
  multiply({by_scores_.data(), 1, room_, queries_.data(), width_, by_keys_.data() + seen.begin * width_, width_, seen.n,
            width_, count, true});
  multiply(
      {by_scores_.data(), room_, 1, key(seen.begin), width_, by_queries_.data(), width_, kQueries, width_, seen.n});
  scale_row(by_queries_.data(), count * width_, shape_.scale);
}

}  // namespace attar
