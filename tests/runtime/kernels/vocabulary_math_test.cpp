// Sums over a vocabulary against the same in double, on sizes around every block border.
#include "runtime/kernels/vocabulary_math.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "runtime/base/error.h"
#include "runtime/base/random.h"

namespace attar::runtime {
namespace {

constexpr size_t kSizes[] = {1, 2, 5, 15, 16, 17, 511, 512, 513, 4095, 4097, 49152};

std::vector<float> random_logits(size_t n, uint64_t seed) {
  const CounterRandom random(seed);
  std::vector<float> logits(n);
  for (size_t i = 0; i < n; ++i)
    logits[i] = static_cast<float>(30.0 * random.uniform(i) * random.uniform(i + n) - 10.0);
  return logits;
}

double exact_lse(const std::vector<float>& logits) {
  double sum = 0.0;
  for (const float x : logits) sum += std::exp(static_cast<double>(x) - 20.0);
  return 20.0 + std::log(sum);
}

double exact_kl(const std::vector<float>& a, const std::vector<float>& b) {
  const double la = exact_lse(a), lb = exact_lse(b);
  double sum = 0.0;
  for (size_t i = 0; i < a.size(); ++i) {
    const double log_p = static_cast<double>(a[i]) - la;
    sum += std::exp(log_p) * (log_p - (static_cast<double>(b[i]) - lb));
  }
  return sum;
}

TEST(VocabularyMath, KlOfTheReferenceRow) {
  const std::vector<float> teacher{2, 1, 0, -1}, student{1, 0.5, 0.5, 0};
  EXPECT_NEAR(kl_divergence(teacher, log_sum_exp(teacher), student, log_sum_exp(student)), 0.194689, 1e-6);
  EXPECT_NEAR(log_sum_exp(student), std::log(std::exp(1.0) + 2.0 * std::exp(0.5) + 1.0), 1e-6);
}

TEST(VocabularyMath, EqualsTheSameInDouble) {
  for (const size_t n : kSizes) {
    const std::vector<float> a = random_logits(n, 1);
    std::vector<float> b = random_logits(n, 2);
    EXPECT_NEAR(log_sum_exp(a), exact_lse(a), 2e-6) << n;  // exp is right to 2e-7 and f32 sums hold 256 terms a lane
    EXPECT_NEAR(kl_divergence(a, log_sum_exp(a), b, log_sum_exp(b)), exact_kl(a, b), 1e-5 * (1.0 + exact_kl(a, b)))
        << n;
    const CounterRandom noise(3);
    for (size_t i = 0; i < n; ++i) b[i] = a[i] + static_cast<float>(0.02 * noise.uniform(i));
    // A student close to its teacher: rounding must not drown a small divergence.
    EXPECT_NEAR(kl_divergence(a, log_sum_exp(a), b, log_sum_exp(b)), exact_kl(a, b), 5e-7) << n;
    EXPECT_EQ(kl_divergence(a, log_sum_exp(a), a, log_sum_exp(a)), 0.0) << n;
  }
}

TEST(VocabularyMath, NaNIsNoDivergenceOfZero) {
  for (const size_t n : kSizes) {
    const std::vector<float> whole = random_logits(n, 1);
    for (const float wrong : {std::nanf(""), HUGE_VALF}) {
      std::vector<float> broken = whole;
      broken[n / 2] = wrong;
      EXPECT_FALSE(std::isfinite(log_sum_exp(broken))) << n;
      EXPECT_TRUE(std::isnan(kl_divergence(broken, log_sum_exp(broken), whole, log_sum_exp(whole)))) << n;
      EXPECT_TRUE(std::isnan(kl_divergence(whole, log_sum_exp(whole), broken, log_sum_exp(broken)))) << n;
    }
  }
}

TEST(VocabularyMath, LargestAndTheirTies) {
  for (const size_t n : kSizes) {
    std::vector<float> logits = random_logits(n, 4);
    for (size_t i = 0; i < n; i += 3) logits[i] = logits[n / 2];  // ties in plenty
    std::vector<int32_t> order(n);
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [&](int32_t x, int32_t y) {
      return logits[static_cast<size_t>(x)] > logits[static_cast<size_t>(y)];
    });
    EXPECT_EQ(argmax(logits), order[0]) << n;
    for (const size_t k : {size_t{1}, size_t{5}, size_t{16}}) {
      const std::vector<int32_t> expected(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(std::min(k, n)));
      EXPECT_EQ(top_indices(logits, static_cast<int64_t>(k)), expected) << n << " " << k;
    }
  }
  EXPECT_TRUE(top_indices(random_logits(8, 1), 0).empty());
}

TEST(VocabularyMath, TheLargestIsANumberOrAnError) {
  for (const size_t n : kSizes) {
    std::vector<float> logits(n, std::nanf(""));
    EXPECT_THROW(argmax(logits), Error) << n;
    EXPECT_TRUE(top_indices(logits, 3).empty()) << n;
    logits[n / 2] = -HUGE_VALF;
    EXPECT_EQ(argmax(logits), static_cast<int64_t>(n / 2)) << n;
    logits[n - 1] = 1.0f;
    EXPECT_EQ(argmax(logits), static_cast<int64_t>(n - 1)) << n;
    EXPECT_EQ(top_indices(logits, 3).front(), static_cast<int32_t>(n - 1)) << n;
  }
  EXPECT_THROW(argmax({}), Error);
}

// What threads find out part by part.
struct Parts {
  std::vector<float> maxima, sums;
  float most;

  explicit Parts(const std::vector<float>& logits) {
    const auto n = static_cast<int64_t>(logits.size());
    maxima.resize(static_cast<size_t>(logit_blocks(n)));
    block_maxima(logits, maxima.data());
    most = *std::max_element(maxima.begin(), maxima.end());
    for (int64_t chunk = 0; chunk < sum_chunks(n); ++chunk) sums.push_back(chunk_sum(logits, chunk, most));
  }
  double lse() const { return log_sum_exp(most, sums); }
};

TEST(VocabularyMath, PartsGiveTheWholeToTheBit) {
  std::vector<size_t> sizes(std::begin(kSizes), std::end(kSizes));
  sizes.insert(sizes.end(), {63, 64, 65, 8192, 9001});
  for (const size_t n : sizes) {
    std::vector<float> logits = random_logits(n, 6);
    for (size_t i = 0; i < n; i += 5) logits[i] = std::round(logits[i]);  // ties
    if (n > 3) logits[1] = -HUGE_VALF;
    const Parts parts(logits);
    EXPECT_EQ(parts.lse(), log_sum_exp(logits)) << n;
    for (size_t b = 0; b < parts.maxima.size(); ++b) {
      const auto begin = logits.begin() + static_cast<std::ptrdiff_t>(64 * b);
      EXPECT_EQ(parts.maxima[b],
                *std::max_element(begin, logits.begin() + static_cast<std::ptrdiff_t>(std::min(64 * b + 64, n))));
    }
    EXPECT_EQ(argmax(logits, parts.maxima), argmax(logits)) << n;
    for (const int64_t k : {int64_t{1}, int64_t{5}, int64_t{48}, static_cast<int64_t>(n)})
      EXPECT_EQ(top_indices(logits, k, parts.maxima), top_indices(logits, k)) << n << " " << k;
  }
}

TEST(VocabularyMath, PartsLoseNothingThatIsNotFinite) {
  for (const size_t n : kSizes) {
    for (const float wrong : {std::nanf(""), HUGE_VALF}) {
      std::vector<float> logits = random_logits(n, 7);
      logits[n / 2] = wrong;
      EXPECT_FALSE(std::isfinite(Parts(logits).lse())) << n;
      if (n == 1 && std::isnan(wrong)) continue;  // no number
      EXPECT_EQ(argmax(logits, Parts(logits).maxima), argmax(logits)) << n;
      EXPECT_EQ(top_indices(logits, 7, Parts(logits).maxima), top_indices(logits, 7)) << n;
    }
    const std::vector<float> none(n, std::nanf(""));
    EXPECT_THROW(argmax(none, Parts(none).maxima), Error) << n;
    EXPECT_TRUE(top_indices(none, 3, Parts(none).maxima).empty()) << n;
  }
  EXPECT_THROW(argmax({}, {}), Error);
}

TEST(VocabularyMath, Exponentials) {
  const std::vector<float> logits{-200.0f, -1.0f, 0.0f, 1.0f, 2.0f};
  std::vector<float> out(logits.size());
  exponentials(logits, 2.0f, 2.0f, out);
  for (size_t i = 0; i < out.size(); ++i)
    EXPECT_NEAR(out[i], std::exp(2.0 * (static_cast<double>(logits[i]) - 2.0)), 3e-7) << i;
  exponentials(logits, 2.0f, 1e38f, out);
  EXPECT_EQ(out, (std::vector<float>{0, 0, 0, 0, 1})) << "what overflows is 0, not NaN";
}

}  // namespace
}  // namespace attar::runtime
