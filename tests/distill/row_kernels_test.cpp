#include "distill/row_kernels.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "runtime/base/random.h"

namespace attar {
namespace {

// Teacher (2, 1, 0, -1), student (1, 0.5, 0.5, 0): worked out by hand, checked by finite differences.
const std::vector<float> kTeacher{2, 1, 0, -1}, kStudent{1, 0.5, 0.5, 0};

void expect_near(const std::vector<float>& got, const std::vector<double>& expected) {
  ASSERT_EQ(got.size(), expected.size());
  for (size_t i = 0; i < got.size(); ++i) EXPECT_NEAR(static_cast<double>(got[i]), expected[i], 2e-6) << i;
}

TEST(ForwardKl, GoldenRow) {
  std::vector<float> gradient(4, 0.0f);
  EXPECT_NEAR(forward_kl_row(kStudent.data(), kTeacher.data(), 4, 1.0, 1.0f, gradient.data()), 0.194689, 2e-6);
  expect_near(gradient, {-0.256459, -0.001879, 0.147859, 0.110478});
  gradient.assign(4, 0.0f);
  EXPECT_NEAR(forward_kl_row(kStudent.data(), kTeacher.data(), 4, 2.0, 1.0f, gradient.data()), 0.273796, 2e-6);
  expect_near(gradient, {-0.278024, -0.059741, 0.157458, 0.180306});
}

TEST(ForwardKl, GoldenTopTwoAndTail) {
  const double lse = std::log(std::exp(2.0) + std::exp(1.0) + 1.0 + std::exp(-1.0));
  const std::vector<int64_t> ids{0, 1, -1};  // the last entry is unused
  const std::vector<float> log_probs{static_cast<float>(2.0 - lse), static_cast<float>(1.0 - lse), -HUGE_VALF};
  std::vector<float> gradient(4, 0.0f);
  EXPECT_NEAR(forward_kl_top_k_row(kStudent.data(), 4, ids.data(), log_probs.data(), 3, 1.0, 1.0f, gradient.data()),
              0.191549, 2e-6);
  expect_near(gradient, {-0.256459, -0.001879, 0.160805, 0.097533});
}

TEST(ForwardKl, ATokenTheStudentLacksIsRenormalisedAway) {
  // p = (0.5, 0.3) kept, 0.1 of a token that was cut, tail 0.1: what is left is (5/9, 3/9, tail 1/9)
  const std::vector<int64_t> ids{0, 1, -1}, kept{0, 1};
  const std::vector<float> cut{std::log(0.5f), std::log(0.3f), std::log(0.1f)},
      whole{std::log(5.0f / 9), std::log(3.0f / 9)};
  std::vector<float> a(4, 0.0f), b(4, 0.0f);
  const double loss = forward_kl_top_k_row(kStudent.data(), 4, ids.data(), cut.data(), 3, 1.0, 1.0f, a.data());
  EXPECT_NEAR(loss, forward_kl_top_k_row(kStudent.data(), 4, kept.data(), whole.data(), 2, 1.0, 1.0f, b.data()), 1e-6);
  for (size_t i = 0; i < 4; ++i) EXPECT_NEAR(a[i], b[i], 1e-6);
}

TEST(ForwardKl, NaNIsNoLossOfZero) {
  const float nan = std::nanf("");
  const std::vector<float> broken{1, nan, 0.5, 0};
  const std::vector<int64_t> ids{0, 1};
  const std::vector<float> log_probs{-0.5f, -1.5f};
  std::vector<float> gradient(4, 0.0f);
  EXPECT_TRUE(std::isnan(forward_kl_row(broken.data(), kTeacher.data(), 4, 1.0, 1.0f, gradient.data())));
  EXPECT_TRUE(std::isnan(forward_kl_row(kStudent.data(), broken.data(), 4, 1.0, 1.0f, gradient.data())));
  EXPECT_TRUE(
      std::isnan(forward_kl_top_k_row(broken.data(), 4, ids.data(), log_probs.data(), 2, 1.0, 1.0f, gradient.data())));
}

TEST(ForwardKl, RowWithoutSignalAddsNothing) {
  const std::vector<int64_t> ids{-1, -1};
  const std::vector<float> log_probs{-HUGE_VALF, -HUGE_VALF};
  std::vector<float> gradient(4, 0.0f);
  EXPECT_EQ(forward_kl_top_k_row(kStudent.data(), 4, ids.data(), log_probs.data(), 2, 1.0, 1.0f, gradient.data()), 0.0);
  EXPECT_EQ(gradient, std::vector<float>(4, 0.0f));
}

// Two random rows of logits, in [-spread / 2, spread / 2).
struct Rows {
  std::vector<float> z, y;
  Rows(int64_t n, double spread, uint64_t seed) {
    const CounterRandom random(seed);
    for (int64_t i = 0; i < n; ++i) {
      z.push_back(static_cast<float>(spread * (random.uniform(static_cast<uint64_t>(2 * i)) - 0.5)));
      y.push_back(static_cast<float>(spread * (random.uniform(static_cast<uint64_t>(2 * i + 1)) - 0.5)));
    }
  }
};

std::vector<double> softmax(const std::vector<float>& x, double temperature) {
  double most = -HUGE_VAL, sum = 0.0;
  for (const float v : x) most = std::max(most, static_cast<double>(v) / temperature);
  std::vector<double> p;
  for (const float v : x) sum += p.emplace_back(std::exp(static_cast<double>(v) / temperature - most));
  for (double& v : p) v /= sum;
  return p;
}

// Each entry is a difference of two probabilities times `scale`, and may be wrong by `relative` of their sum. An
// all-zero gradient would then be wrong by far more, all in all.
void expect_gradient(const std::vector<float>& got, const std::vector<float>& expected, const std::vector<double>& p,
                     const std::vector<double>& q, double scale, double relative) {
  for (size_t i = 0; i < got.size(); ++i)
    ASSERT_NEAR(got[i], expected[i], relative * scale * (p[i] + q[i]) + 1e-37) << i << " of " << got.size();
}
double total(const std::vector<float>& values) {
  double sum = 0.0;
  for (const float v : values) sum += std::abs(static_cast<double>(v));
  return sum;
}

// Odd sizes around the vector width and the chunk; logits up to +-5e3. f32 logits carry a relative 6e-8, which an
// exponential makes an error of as much times the logit; two of them, and as much again for the rest.
TEST(RowKernels, AgreeWithTheReferenceAndKeepItsProperties) {
  for (const int64_t n : {1, 2, 15, 16, 17, 33, 4095, 4097, 9001}) {
    for (const double spread : {1.0, 30.0, 1e4}) {
      const Rows rows(n, spread, 3);
      const auto size = static_cast<size_t>(n);
      const double relative = 4e-6 + 1.2e-7 * spread;
      std::vector<float> fast(size, 0.0f), slow(size, 0.0f), ce_fast(size, 0.0f), ce_slow(size, 0.0f);
      const double a = forward_kl_row(rows.z.data(), rows.y.data(), n, 1.5, 0.5f, fast.data()),
                   b = forward_kl_row_reference(rows.z.data(), rows.y.data(), n, 1.5, 0.5f, slow.data());
      const double c = cross_entropy_row(rows.z.data(), n, n / 2, 0.5f, ce_fast.data()),
                   d = cross_entropy_row_reference(rows.z.data(), n, n / 2, 0.5f, ce_slow.data());
      EXPECT_NEAR(a, b, 2e-5 * (1.0 + b)) << n << " " << spread;  // f32 logits of this size carry 1e-3 at 1e4
      if (std::isfinite(d)) {
        EXPECT_NEAR(c, d, 2e-5 * (1.0 + d));
      }
      std::vector<double> one_hot(size, 0.0);
      one_hot[size / 2] = 1.0;
      expect_gradient(fast, slow, softmax(rows.y, 1.5), softmax(rows.z, 1.5), 0.75, relative);
      expect_gradient(ce_fast, ce_slow, one_hot, softmax(rows.z, 1.0), 0.5, relative);
      double sum = 0.0;
      for (const float g : fast) sum += static_cast<double>(g);
      EXPECT_NEAR(sum, 0.0, relative);
      EXPECT_GE(a, 0.0);
      if (n > 2 && spread < 100.0) {
        EXPECT_GT(total(fast), 100.0 * relative);
        EXPECT_GT(total(ce_fast), 100.0 * relative);
      }
    }
  }
}

// The teacher's top k of a row, of whose mass the tail keeps a share; one entry is unused.
struct TopOfRow {
  std::vector<int64_t> ids;
  std::vector<float> log_probs;
};
TopOfRow top_of(const std::vector<float>& y, int64_t k, double tail) {
  std::vector<int64_t> order(y.size());
  for (size_t i = 0; i < y.size(); ++i) order[i] = static_cast<int64_t>(i);
  const auto likelier = [&](int64_t a, int64_t b) { return y[static_cast<size_t>(a)] > y[static_cast<size_t>(b)]; };
  std::partial_sort(order.begin(), order.begin() + k, order.end(), likelier);
  double sum = 0.0;
  for (int64_t j = 0; j < k; ++j)
    sum += std::exp(static_cast<double>(y[static_cast<size_t>(order[static_cast<size_t>(j)])]));
  TopOfRow top;
  for (int64_t j = 0; j < k; ++j) {
    const int64_t id = order[static_cast<size_t>(j)];
    top.ids.push_back(id);
    top.log_probs.push_back(
        static_cast<float>(std::log((1.0 - tail) * std::exp(static_cast<double>(y[static_cast<size_t>(id)])) / sum)));
  }
  top.ids.push_back(-1);
  top.log_probs.push_back(-HUGE_VALF);
  return top;
}

// The loss as its definition says, over logits in double, for differences.
double top_k_loss(const std::vector<double>& z, const TopOfRow& top, double t) {
  double most = -HUGE_VAL, all = 0.0, kept_p = 0.0, loss = 0.0;
  for (const double v : z) most = std::max(most, v / t);
  std::vector<bool> kept(z.size(), false);
  for (const int64_t id : top.ids)
    if (id >= 0) kept[static_cast<size_t>(id)] = true;
  double tail = 0.0;
  for (size_t i = 0; i < z.size(); ++i) {
    const double e = std::exp(z[i] / t - most);
    all += e;
    if (!kept[i]) tail += e;
  }
  for (size_t j = 0; j < top.ids.size(); ++j) {
    if (top.ids[j] < 0) continue;
    const double log_p = static_cast<double>(top.log_probs[j]);
    kept_p += std::exp(log_p);
    loss += std::exp(log_p) * (log_p - (z[static_cast<size_t>(top.ids[j])] / t - most - std::log(all)));
  }
  return t * t * (loss + (1.0 - kept_p) * (std::log(1.0 - kept_p) - std::log(tail / all)));
}

// Central differences of 1e-3 in double: off by 1e-6 of the curvature, and by 1e-13 of the loss over the step. Those of
// kept tokens one by one; of the tail, whose entries are as small as 1e-12, one by one where the student is surest, and
// all together.
void expect_differences(const std::vector<float>& z, const TopOfRow& top, double t,
                        const std::vector<float>& gradient) {
  constexpr double kStep = 1e-3;
  const std::vector<double> point(z.begin(), z.end());
  const auto difference = [&](const std::vector<size_t>& along) {
    std::vector<double> up = point, down = point;
    for (const size_t i : along) up[i] += kStep, down[i] -= kStep;
    return (top_k_loss(up, top, t) - top_k_loss(down, top, t)) / (2.0 * kStep);
  };
  const auto expect = [&](const std::vector<size_t>& along) {
    double sum = 0.0, scale = 0.0;
    for (const size_t i : along)
      sum += static_cast<double>(gradient[i]), scale += std::abs(static_cast<double>(gradient[i]));
    EXPECT_NEAR(sum, difference(along), 1e-4 * scale + 1e-9) << along.front() << " of " << z.size();
  };
  std::vector<size_t> tail;
  size_t surest = z.size();
  for (size_t i = 0; i < z.size(); ++i) {
    if (std::find(top.ids.begin(), top.ids.end(), static_cast<int64_t>(i)) != top.ids.end()) continue;
    tail.push_back(i);
    if (surest == z.size() || z[i] > z[surest]) surest = i;
  }
  for (size_t j = 0; j < 3; ++j) expect({static_cast<size_t>(top.ids[j])});
  expect({surest});
  expect(tail);
}

// 3e-5: the tail's sum in f32 lanes of 256, and exponentials of f32 logits up to 37.5.
TEST(ForwardKlTopK, AgreesWithTheReferenceAndWithDifferences) {
  constexpr int64_t kKept = 7;
  for (const int64_t n : {int64_t{4096}, int64_t{49152}, int64_t{151936}}) {
    for (const double spread : {1.0, 25.0}) {
      for (const double t : {1.0, 2.0}) {
        Rows rows(n, spread, 11);
        const TopOfRow top = top_of(rows.y, kKept, 0.2);
        rows.z[static_cast<size_t>(top.ids[0])] += static_cast<float>(spread);  // the student is sure of it, too sure
        const auto size = static_cast<size_t>(n);
        std::vector<float> fast(size, 0.0f), slow(size, 0.0f);
        const double a = forward_kl_top_k_row(rows.z.data(), n, top.ids.data(), top.log_probs.data(), kKept + 1, t,
                                              1.0f, fast.data()),
                     b = forward_kl_top_k_row_reference(rows.z.data(), n, top.ids.data(), top.log_probs.data(),
                                                        kKept + 1, t, 1.0f, slow.data());
        EXPECT_NEAR(a, b, 1e-5 * b) << n << " " << spread;
        EXPECT_NEAR(b, top_k_loss({rows.z.begin(), rows.z.end()}, top, t), 1e-6 * b);
        const std::vector<double> q = softmax(rows.z, t);
        std::vector<double> p(size, -1.0);
        for (size_t j = 0; j < kKept; ++j)
          p[static_cast<size_t>(top.ids[j])] = std::exp(static_cast<double>(top.log_probs[j]));
        double q_tail = 0.0;
        for (size_t i = 0; i < size; ++i) q_tail += p[i] < 0.0 ? q[i] : 0.0;
        for (size_t i = 0; i < size; ++i)
          if (p[i] < 0.0) p[i] = 0.2 * q[i] / q_tail;
        expect_gradient(fast, slow, p, q, t, 3e-5);
        EXPECT_GT(total(fast), 100.0 * 3e-5 * t);
        expect_differences(rows.z, top, t, slow);
        expect_differences(rows.z, top, t, fast);
      }
    }
  }
}

// z = (25, 0, 0, ...), p = (0.95, a tail of 0.05): off the kept set the student says almost nothing, which beside its
// first token is less than a rounding. The gradient there is q_tail - 0.05.
TEST(ForwardKlTopK, TheTailBesideADominantLogitIsNotLost) {
  for (const double dominant : {25.0, 100.0, 1000.0}) {
    for (const int64_t n : {1024, 4096, 16384, 49152, 151936}) {
      std::vector<float> z(static_cast<size_t>(n), 0.0f), gradient(static_cast<size_t>(n), 0.0f);
      z[0] = static_cast<float>(dominant);
      const int64_t id = 0;
      const float log_prob = std::log(0.95f);
      const double loss = forward_kl_top_k_row(z.data(), n, &id, &log_prob, 1, 1.0, 1.0f, gradient.data());
      const double others = static_cast<double>(n - 1) * std::exp(-dominant), q_tail = others / (1.0 + others);
      const double log_q_tail = std::log(static_cast<double>(n - 1)) - dominant - std::log1p(others);
      double sum = 0.0;
      for (size_t i = 1; i < gradient.size(); ++i) sum += static_cast<double>(gradient[i]);
      EXPECT_NEAR(sum, q_tail - 0.05, 1e-6) << n << " " << dominant;
      EXPECT_NEAR(static_cast<double>(gradient[0]), 0.05 - q_tail, 1e-6) << n << " " << dominant;
      EXPECT_NEAR(gradient[1], gradient[gradient.size() - 1], 1e-10);
      EXPECT_NEAR(loss, 0.95 * (std::log(0.95) + std::log1p(others)) + 0.05 * (std::log(0.05) - log_q_tail),
                  1e-6 * loss);
    }
  }
}

TEST(ForwardKlTopK, AVocabularyWithoutATailIsTheDenseLoss) {
  const Rows rows(50, 8.0, 5);
  const TopOfRow top = top_of(rows.y, 50, 0.0);
  std::vector<float> sparse(50, 0.0f), dense(50, 0.0f);
  const double a =
      forward_kl_top_k_row(rows.z.data(), 50, top.ids.data(), top.log_probs.data(), 51, 1.0, 1.0f, sparse.data());
  EXPECT_NEAR(a, forward_kl_row_reference(rows.z.data(), rows.y.data(), 50, 1.0, 1.0f, dense.data()), 1e-5 * a);
  expect_gradient(sparse, dense, softmax(rows.y, 1.0), softmax(rows.z, 1.0), 1.0, 5e-6);
}

TEST(RowKernels, AConstantChangesNothing) {
  std::vector<float> shifted = kStudent, a(4, 0.0f), b(4, 0.0f);
  for (float& v : shifted) v += 100.0f;
  EXPECT_NEAR(forward_kl_row(kStudent.data(), kTeacher.data(), 4, 1.0, 1.0f, a.data()),
              forward_kl_row(shifted.data(), kTeacher.data(), 4, 1.0, 1.0f, b.data()), 1e-5);
}

}  // namespace
}  // namespace attar
