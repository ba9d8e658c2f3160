// Rows to learn from, and a loss over one of them: as trained with, and by its definition.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <string>
#include <vector>

#include "distill/losses/row_losses.h"
#include "distill/losses/row_reference.h"
#include "runtime/base/random.h"

namespace attar {

using Floats = std::vector<float>;
using Doubles = std::vector<double>;

// Teacher (2, 1, 0, -1), student (1, 0.5, 0.5, 0): worked out by hand, checked by finite differences.
inline const Floats kTeacher{2, 1, 0, -1}, kStudent{1, 0.5, 0.5, 0};

struct Outcome {
  double value = 0.0;
  Floats gradient;
};
inline Outcome fast(const LossTerm& term, const Floats& z, const RowTarget& target, double scale = 1.0) {
  Outcome out{0.0, Floats(z.size(), 0.0f)};
  const std::vector<LossTerm> terms{term};
  RowLosses(terms, static_cast<int64_t>(z.size())).add(z.data(), target, scale, out.gradient.data(), &out.value);
  return out;
}
struct Exact {
  double value = 0.0;
  Doubles gradient;
};
inline Exact exact(const LossTerm& term, const Floats& z, const RowTarget& target, double scale = 1.0) {
  Exact out{0.0, Doubles(z.size(), 0.0)};
  out.value = row_loss_reference(term, z, target, scale, out.gradient);
  return out;
}

inline LossTerm term_of(const std::string& name, double temperature = 1.0, const LossSettings& settings = {}) {
  return loss_terms({{name, 1.0}}, settings, temperature, 0.7).at(0);
}
inline RowTarget dense(const Floats& teacher) {
  return {.token = static_cast<int64_t>(teacher.size() / 2), .teacher = teacher.data()};
}

// Two random rows of logits, in [-spread / 2, spread / 2).
struct Rows {
  Floats z, y;
  Rows(int64_t n, double spread, uint64_t seed) {
    const CounterRandom random(seed);
    for (int64_t i = 0; i < n; ++i) {
      z.push_back(static_cast<float>(spread * (random.uniform(static_cast<uint64_t>(2 * i)) - 0.5)));
      y.push_back(static_cast<float>(spread * (random.uniform(static_cast<uint64_t>(2 * i + 1)) - 0.5)));
    }
  }
};

inline Doubles softmax(const Floats& x, double temperature) {
  double most = -HUGE_VAL, sum = 0.0;
  for (const float v : x) most = std::max(most, static_cast<double>(v) / temperature);
  Doubles p;
  for (const float v : x) sum += p.emplace_back(std::exp(static_cast<double>(v) / temperature - most));
  for (double& v : p) v /= sum;
  return p;
}

// The teacher's top k of a row, of whose mass the tail keeps a share; one entry is unused.
struct Top {
  std::vector<int64_t> ids;
  Floats log_probs;
  Top(const Floats& y, int64_t k, double tail, double temperature = 1.0) {
    std::vector<int64_t> order(y.size());
    std::iota(order.begin(), order.end(), int64_t{0});
    std::partial_sort(order.begin(), order.begin() + k, order.end(),
                      [&](int64_t a, int64_t b) { return y[static_cast<size_t>(a)] > y[static_cast<size_t>(b)]; });
    Floats kept;
    for (int64_t j = 0; j < k; ++j) kept.push_back(y[static_cast<size_t>(order[static_cast<size_t>(j)])]);
    const Doubles p = softmax(kept, temperature);
    for (size_t j = 0; j < static_cast<size_t>(k); ++j) {
      ids.push_back(order[j]);
      log_probs.push_back(static_cast<float>(std::log((1.0 - tail) * p[j])));
    }
    ids.push_back(-1);
    log_probs.push_back(-HUGE_VALF);
  }
  RowTarget target() const { return {.top = {ids.data(), log_probs.data(), static_cast<int64_t>(ids.size())}}; }
};

// An entry is off by `relative` of the probabilities that it is made of, times the logits that they come from. Where
// those are alike up to that, total_variation jumps.
inline void expect_like(const Outcome& got, const Exact& expected, const Doubles& p, const Doubles& q, double relative,
                        double spread, const std::string& where) {
  EXPECT_NEAR(got.value, expected.value, relative * (1.0 + spread) * (1.0 + expected.value)) << where;
  for (size_t i = 0; i < q.size(); ++i)
    if (const double off = relative * (1.0 + spread) * (p[i] + q[i]); q.size() <= 2 || std::abs(p[i] - q[i]) > off) {
      ASSERT_NEAR(got.gradient[i], expected.gradient[i], off + 1e-37) << where << " at " << i;
    }
}
}  // namespace attar
