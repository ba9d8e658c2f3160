#include "distill/pass/key_head.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

namespace attar {
namespace {

using Matrix = std::vector<double>;  // (T, D)

struct Attention {
  AttentionShape shape;
  Matrix query, key, value, by_mixed;
  Matrix mixed, log_sums, by_query, by_key, by_value;
};

Matrix waves(int64_t n, double step) {
  Matrix out(static_cast<size_t>(n));
  for (size_t i = 0; i < out.size(); ++i) out[i] = std::sin(step * static_cast<double>(i) + step) * 1.7;
  return out;
}

double dot(const Matrix& a, int64_t at, const Matrix& b, int64_t bt, int64_t dim) {
  double sum = 0.0;
  for (int64_t d = 0; d < dim; ++d) sum += a[static_cast<size_t>(at * dim + d)] * b[static_cast<size_t>(bt * dim + d)];
  return sum;
}
void add(Matrix& to, int64_t t, double factor, const Matrix& from, int64_t s, int64_t dim) {
  for (int64_t d = 0; d < dim; ++d)
    to[static_cast<size_t>(t * dim + d)] += factor * from[static_cast<size_t>(s * dim + d)];
}

// As its definition says, in f64.
Attention reference(const AttentionShape& shape) {
  const auto [length, dim, window, scale] = shape;
  Attention out;
  out.shape = shape;
  out.query = waves(length * dim, 0.37), out.key = waves(length * dim, 0.61), out.value = waves(length * dim, 0.83),
  out.by_mixed = waves(length * dim, 0.29);
  out.log_sums.resize(static_cast<size_t>(length));
  for (Matrix* x : {&out.mixed, &out.by_query, &out.by_key, &out.by_value}) x->assign(out.query.size(), 0.0);
  for (int64_t t = 0; t < length; ++t) {
    const int64_t oldest = window == 0 ? 0 : std::max<int64_t>(0, t + 1 - window);
    Matrix weights;
    double sum = 0.0, along = 0.0;
    for (int64_t s = oldest; s <= t; ++s) {
      weights.push_back(std::exp(scale * dot(out.query, t, out.key, s, dim)));
      sum += weights.back();
    }
    out.log_sums[static_cast<size_t>(t)] = std::log(sum);
    for (int64_t s = oldest; s <= t; ++s)
      add(out.mixed, t, weights[static_cast<size_t>(s - oldest)] / sum, out.value, s, dim);
    along = dot(out.mixed, t, out.by_mixed, t, dim);
    for (int64_t s = oldest; s <= t; ++s) {
      const double weight = weights[static_cast<size_t>(s - oldest)] / sum,
                   by_score = weight * (dot(out.by_mixed, t, out.value, s, dim) - along) * scale;
      add(out.by_value, s, weight, out.by_mixed, t, dim);
      add(out.by_query, t, by_score, out.key, s, dim);
      add(out.by_key, s, by_score, out.query, t, dim);
    }
  }
  return out;
}

void put(const Matrix& from, int64_t t, int64_t dim, float* to) {
  for (int64_t d = 0; d < dim; ++d) to[d] = static_cast<float>(from[static_cast<size_t>(t * dim + d)]);
}
double off(const Matrix& expected, int64_t t, int64_t dim, const float* got) {
  double most = 0.0;
  for (int64_t d = 0; d < dim; ++d)
    most = std::max(most, std::fabs(expected[static_cast<size_t>(t * dim + d)] - static_cast<double>(got[d])));
  return most;
}

// The furthest that anything lies from the reference.
double error_of(KeyHead& keys, const AttentionShape& shape) {
  const Attention expected = reference(shape);
  const auto [length, dim, window, scale] = shape;
  keys.start(shape, true);
  for (int64_t t = 0; t < length; ++t)
    put(expected.key, t, dim, keys.key(t)), put(expected.value, t, dim, keys.value(t));
  keys.turn();
  double most = 0.0;
  for (int64_t first = 0; first < length; first += KeyHead::kQueries) {
    const int64_t count = std::min(KeyHead::kQueries, length - first);
    const auto queries = [&] {
      for (int64_t r = 0; r < count; ++r) put(expected.query, first + r, dim, keys.query(r));
    };
    queries();
    keys.forward(first, count);
    for (int64_t r = 0; r < count; ++r) {
      most = std::max(most, off(expected.mixed, first + r, dim, keys.mixed(r)));
      most = std::max(most, off(expected.log_sums, first + r, 1, &keys.log_sum(r)));
      put(expected.by_mixed, first + r, dim, keys.by_mixed(r));
    }
    queries();
    keys.backward(first, count);
    for (int64_t r = 0; r < count; ++r) most = std::max(most, off(expected.by_query, first + r, dim, keys.by_query(r)));
  }
  for (int64_t t = 0; t < length; ++t) {
    most = std::max(most, off(expected.by_key, t, dim, keys.by_key(t)));
    most = std::max(most, off(expected.by_value, t, dim, keys.by_value(t)));
  }
  return most;
}

// One after the other in the same memory: what a longer document leaves there must not show.
TEST(KeyHead, IsItsDefinitionAtOddSizes) {
  KeyHead keys;
  for (const AttentionShape& shape : {AttentionShape{130, 24, 0, 0.3f},
                                      {1, 8, 0, 1.0f},
                                      {33, 64, 0, 0.125f},
                                      {97, 80, 0, 0.1f},
                                      {32, 16, 0, 0.25f},
                                      {130, 24, 1, 0.3f},
                                      {130, 24, 40, 0.3f},
                                      {75, 5, 17, 0.5f}})
    EXPECT_LT(error_of(keys, shape), 2e-5) << shape.length << " " << shape.dim << " " << shape.window;
}

TEST(KeyHead, ForwardAloneBehindTheWayBack) {
  KeyHead keys;
  ASSERT_LT(error_of(keys, {20, 16, 0, 0.25f}), 2e-5);
  const AttentionShape shape{200, 16, 0, 0.25f};
  const Attention expected = reference(shape);
  keys.start(shape, false);
  for (int64_t t = 0; t < shape.length; ++t)
    put(expected.key, t, 16, keys.key(t)), put(expected.value, t, 16, keys.value(t));
  keys.turn();
  put(expected.query, 199, 16, keys.query(0));
  keys.forward(199, 1);
  EXPECT_LT(off(expected.mixed, 199, 16, keys.mixed(0)), 1e-5);
}

// Scores that no exponential holds; a NaN is not lost.
TEST(KeyHead, LargeScoresAndNaN) {
  KeyHead keys;
  keys.start({40, 8, 0, 1.0f}, false);
  for (int64_t t = 0; t < 40; ++t)
    std::fill_n(keys.key(t), 8, static_cast<float>(t)), std::fill_n(keys.value(t), 8, static_cast<float>(t));
  keys.turn();
  std::fill_n(keys.query(0), 8, 50.0f);
  keys.forward(39, 1);
  EXPECT_FLOAT_EQ(keys.mixed(0)[3], 39.0f);
  EXPECT_FLOAT_EQ(keys.log_sum(0), 39.0f * 8.0f * 50.0f);
  std::fill_n(keys.query(0), 8, std::nanf(""));
  keys.forward(39, 1);
  EXPECT_TRUE(std::isnan(keys.mixed(0)[3]));
}

}  // namespace
}  // namespace attar
