#include "distill/row_kernels.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "runtime/base/random.h"

namespace attar {
namespace {

// Teacher (2, 1, 0, -1), student (1, 0.5, 0.5, 0): reference "distillation", section 1.1, checked by finite
// differences.
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

// Odd sizes around the vector width and the chunk; logits up to +-1e4.
TEST(RowKernels, AgreeWithTheReferenceAndKeepItsProperties) {
  const CounterRandom random(3);
  for (const int64_t n : {1, 2, 15, 16, 17, 33, 4095, 4097, 9001}) {
    for (const double spread : {1.0, 30.0, 1e4}) {
      std::vector<float> z, y;
      for (int64_t i = 0; i < n; ++i) {
        z.push_back(static_cast<float>(spread * (random.uniform(static_cast<uint64_t>(2 * i)) - 0.5)));
        y.push_back(static_cast<float>(spread * (random.uniform(static_cast<uint64_t>(2 * i + 1)) - 0.5)));
      }
      const auto size = static_cast<size_t>(n);
      std::vector<float> fast(size, 0.0f), slow(size, 0.0f), ce_fast(size, 0.0f), ce_slow(size, 0.0f);
      const double a = forward_kl_row(z.data(), y.data(), n, 1.5, 0.5f, fast.data()),
                   b = forward_kl_row_reference(z.data(), y.data(), n, 1.5, 0.5f, slow.data());
      const double c = cross_entropy_row(z.data(), n, n / 2, 0.5f, ce_fast.data()),
                   d = cross_entropy_row_reference(z.data(), n, n / 2, 0.5f, ce_slow.data());
      EXPECT_NEAR(a, b, 2e-5 * (1.0 + b)) << n << " " << spread;  // f32 logits of this size carry 1e-3 at 1e4
      if (std::isfinite(d)) {
        EXPECT_NEAR(c, d, 2e-5 * (1.0 + d));
      }
      double sum = 0.0;
      for (size_t i = 0; i < size; ++i) {
        EXPECT_TRUE(std::isfinite(fast[i]));
        EXPECT_NEAR(fast[i], slow[i], 1e-3);
        EXPECT_NEAR(ce_fast[i], ce_slow[i], 1e-3);
        sum += static_cast<double>(fast[i]);
      }
      EXPECT_NEAR(sum, 0.0, 1e-3);
      EXPECT_GE(a, 0.0);
    }
  }
}

TEST(RowKernels, AConstantChangesNothing) {
  std::vector<float> shifted = kStudent, a(4, 0.0f), b(4, 0.0f);
  for (float& v : shifted) v += 100.0f;
  EXPECT_NEAR(forward_kl_row(kStudent.data(), kTeacher.data(), 4, 1.0, 1.0f, a.data()),
              forward_kl_row(shifted.data(), kTeacher.data(), 4, 1.0, 1.0f, b.data()), 1e-5);
}

}  // namespace
}  // namespace attar
