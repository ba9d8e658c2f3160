#include "distill/losses/bucket_row.h"

#include "compress/signal/sampled_signal.h"
#include "tests/distill/losses/row_loss_rows.h"

namespace attar {
namespace {

TEST(BucketRow, GoldenTopTwoAndTail) {
  const double lse = std::log(std::exp(2.0) + std::exp(1.0) + 1.0 + std::exp(-1.0));
  const std::vector<int64_t> ids{0, 1, -1};  // the last entry is unused
  const Floats log_probs{static_cast<float>(2.0 - lse), static_cast<float>(1.0 - lse), -HUGE_VALF};
  const Outcome got = fast(term_of("forward_kl"), kStudent, {.top = {ids.data(), log_probs.data(), 3}});
  EXPECT_NEAR(got.value, 0.191549, 2e-6);
  const Doubles expected{-0.256459, -0.001879, 0.160805, 0.097533};
  for (size_t i = 0; i < 4; ++i) EXPECT_NEAR(got.gradient[i], expected[i], 2e-6) << i;
}

TEST(BucketRow, EveryKindAgreesWithItsDefinitionOnTheLikeliestTokens) {
  constexpr int64_t kKept = 7;
  for (const LossKind& kind : loss_kinds()) {
    if (!kind.needs_teacher || kind.across) continue;
    for (const int64_t n : {int64_t{8}, int64_t{257}, int64_t{49152}, int64_t{151936}})
      for (const double spread : {1.0, 25.0})
        for (const double t : {1.0, 2.0}) {
          Rows rows(n, spread, 11);
          const Top top(rows.y, kKept, 0.2, t);
          rows.z[static_cast<size_t>(top.ids[0])] += static_cast<float>(spread);  // the student is sure of it, too sure
          const std::string where = kind.name + (" V = " + std::to_string(n)) + ", spread " + std::to_string(spread);
          const Doubles q = softmax(rows.z, t);
          Doubles p(q.size(), -1.0);
          double tail = 0.0;
          for (size_t j = 0; j < kKept; ++j)
            p[static_cast<size_t>(top.ids[j])] = std::exp(static_cast<double>(top.log_probs[j]));
          for (size_t i = 0; i < q.size(); ++i) tail += p[i] < 0.0 ? q[i] : 0.0;
          for (size_t i = 0; i < q.size(); ++i)
            if (p[i] < 0.0) p[i] = 0.2 * q[i] / tail;
          const LossTerm term = term_of(kind.name, t);
          expect_like(fast(term, rows.z, top.target()), exact(term, rows.z, top.target()), p, q, 1e-5, spread, where);
        }
  }
}

TEST(HeadThreshold, LeastOfTheLikeliestTokens) {
  const Floats p{0.1f, 0.4f, 0.05f, 0.3f, 0.15f};
  for (const auto& [mass, expected] : std::vector<std::pair<double, float>>{
           {0.01, 0.4f}, {0.39, 0.4f}, {0.41, 0.3f}, {0.71, 0.15f}, {0.86, 0.1f}, {0.96, 0.05f}, {2.0, 0.05f}}) {
    Floats copy = p;
    EXPECT_EQ(head_threshold(copy, mass), static_cast<double>(expected)) << mass;
  }
}

TEST(BucketRow, ATokenTheStudentLacksIsRenormalisedAway) {
  // p = (0.5, 0.3) kept, 0.1 of a token that was cut, tail 0.1: what is left is (5/9, 3/9, tail 1/9)
  const std::vector<int64_t> ids{0, 1, -1};
  const Floats cut{std::log(0.5f), std::log(0.3f), std::log(0.1f)}, whole{std::log(5.0f / 9), std::log(3.0f / 9)};
  for (const LossKind& kind : loss_kinds()) {
    if (!kind.needs_teacher || kind.across) continue;
    const LossTerm term = term_of(kind.name);
    const Outcome a = fast(term, kStudent, {.top = {ids.data(), cut.data(), 3}}),
                  b = fast(term, kStudent, {.top = {ids.data(), whole.data(), 2}});
    EXPECT_NEAR(a.value, b.value, 1e-6) << kind.name;
    for (size_t i = 0; i < 4; ++i) EXPECT_NEAR(a.gradient[i], b.gradient[i], 1e-6) << kind.name;
  }
}

TEST(BucketRow, RowWithoutSignalAddsNothing) {
  const std::vector<int64_t> ids{-1, -1};
  const Floats log_probs{-HUGE_VALF, -HUGE_VALF};
  for (const LossKind& kind : loss_kinds()) {
    if (!kind.needs_teacher || kind.across) continue;
    const Outcome got = fast(term_of(kind.name), kStudent, {.top = {ids.data(), log_probs.data(), 2}});
    EXPECT_EQ(got.value, 0.0);
    EXPECT_EQ(got.gradient, Floats(4, 0.0f));
  }
}

// z = (25, 0, 0, ...), p = (0.95, a tail of 0.05): off the kept set the student says almost nothing, which beside its
// first token is less than a rounding. The gradient of forward KL there is q_tail - 0.05.
TEST(BucketRow, TheTailBesideADominantLogitIsNotLost) {
  for (const double dominant : {25.0, 100.0, 1000.0}) {
    for (const int64_t n : {1024, 4096, 16384, 49152, 151936}) {
      Floats z(static_cast<size_t>(n), 0.0f);
      z[0] = static_cast<float>(dominant);
      const int64_t id = 0;
      const float log_prob = std::log(0.95f);
      const Outcome got = fast(term_of("forward_kl"), z, {.top = {&id, &log_prob, 1}});
      const double others = static_cast<double>(n - 1) * std::exp(-dominant), q_tail = others / (1.0 + others);
      const double log_q_tail = std::log(static_cast<double>(n - 1)) - dominant - std::log1p(others);
      double sum = 0.0;
      for (size_t i = 1; i < z.size(); ++i) sum += static_cast<double>(got.gradient[i]);
      EXPECT_NEAR(sum, q_tail - 0.05, 1e-6) << n << " " << dominant;
      EXPECT_NEAR(static_cast<double>(got.gradient[0]), 0.05 - q_tail, 1e-6) << n << " " << dominant;
      EXPECT_NEAR(got.gradient[1], got.gradient.back(), 1e-10);
      EXPECT_NEAR(got.value, 0.95 * (std::log(0.95) + std::log1p(others)) + 0.05 * (std::log(0.05) - log_q_tail),
                  1e-6 * got.value);
    }
  }
}

// A row drawn of a teacher's logits (V), as the losses take it: what is kept exactly comes first.
struct SampledTop {
  std::vector<int64_t> ids;
  Floats log_probs;
  float entropy = 0.0f;
  SampledTop(const Floats& y, int64_t samples, double uniform) {
    double sum = 0.0;
    for (const float v : y) sum += std::exp(static_cast<double>(v));
    const SampledRow row = sample_row(y, std::log(sum), {}, 0.0, samples, uniform);
    entropy = static_cast<float>(row.entropy);
    for (const TokenShare& share : shares_of(row)) {
      ids.push_back(share.id);
      log_probs.push_back(static_cast<float>(std::log(share.probability)));
    }
  }
  RowTarget target() const {
    return {.top = {ids.data(), log_probs.data(), static_cast<int64_t>(ids.size()), entropy}};
  }
};

TEST(BucketRow, ASampleAgreesWithItsDefinition) {
  for (const int64_t n : {int64_t{2}, int64_t{8}, int64_t{257}, int64_t{49152}, int64_t{151936}})
    for (const double spread : {1.0, 25.0}) {
      const Rows rows(n, spread, 11);
      const SampledTop sample(rows.y, 48, 0.5);
      Doubles p(static_cast<size_t>(n), 0.0);
      for (size_t j = 0; j < sample.ids.size(); ++j)
        p[static_cast<size_t>(sample.ids[j])] = std::exp(static_cast<double>(sample.log_probs[j]));
      const LossTerm term = term_of("forward_kl");
      const Exact expected = exact(term, rows.z, sample.target());
      double cross_entropy = 0.0;
      const Doubles q = softmax(rows.z, 1.0);
      for (size_t i = 0; i < q.size(); ++i)
        if (p[i] > 0.0) cross_entropy -= p[i] * std::log(q[i]);
      const std::string where = "V = " + std::to_string(n) + ", spread " + std::to_string(spread);
      EXPECT_NEAR(expected.value, cross_entropy - static_cast<double>(sample.entropy), 1e-5 * cross_entropy) << where;
      expect_like(fast(term, rows.z, sample.target()), expected, p, q, 1e-5, spread, where);
    }
}

// 2,000 samples of a row: the mean of value and gradient is that of the whole distribution. 48 draws a sample, 96,000
// in all: a token's share is off by the root of p / 96,000 at most, one that is kept exactly by 1.6 %.
TEST(BucketRow, ASampleHasTheLossOfTheWholeInTheMean) {
  const Rows rows(300, 5.0, 4);
  const LossTerm term = term_of("forward_kl");
  const Outcome whole = fast(term, rows.z, dense(rows.y));
  constexpr int kSamples = 2000;
  double value = 0.0;
  Doubles gradient(300, 0.0);
  for (int s = 0; s < kSamples; ++s) {
    const SampledTop sample(rows.y, 48, CounterRandom(9).uniform(static_cast<uint64_t>(s)));
    const Outcome got = fast(term, rows.z, sample.target());
    value += got.value / kSamples;
    for (size_t i = 0; i < 300; ++i) gradient[i] += static_cast<double>(got.gradient[i]) / kSamples;
  }
  EXPECT_NEAR(value, whole.value, 0.02);
  EXPECT_GT(whole.value, 0.5);
  const Doubles p = softmax(rows.y, 1.0);
  for (size_t i = 0; i < 300; ++i)
    EXPECT_NEAR(gradient[i], whole.gradient[i], 5.0 * std::sqrt(p[i] / 96000.0) + 0.02 * p[i]) << i;
}

// 1,000 rows over 49,152 tokens: two of them with 57 % of the mass are kept as they are, the rest is drawn, 21 times or
// so. The logarithms of what is drawn spread over 5, evenly: so the mean value is off by .43 * 1.44 / sqrt(21,000) =
// .0043, and the gradient over a 64th of the tokens by .43 * sqrt(1 / 64 / 21,000) = .00037. Bounds are five times
// those; what is kept as it is is off by 1.6 %.
TEST(BucketRow, ASampleOfALargeVocabularyHasTheLossOfTheWholeInTheMean) {
  constexpr size_t kTokens = 49152, kParts = 64, kFirst = 7, kSecond = 9;
  constexpr int kSamples = 1000;
  Rows rows(kTokens, 5.0, 4);
  rows.y[kFirst] = 11.7f, rows.y[kSecond] = 10.5f;
  const LossTerm term = term_of("forward_kl");
  const Outcome whole = fast(term, rows.z, dense(rows.y));
  double value = 0.0;
  Doubles gradient(kTokens, 0.0);
  for (int s = 0; s < kSamples; ++s) {
    const SampledTop sample(rows.y, 48, CounterRandom(9).uniform(static_cast<uint64_t>(s)));
    ASSERT_EQ(sample.ids[0], static_cast<int64_t>(kFirst));
    ASSERT_EQ(sample.ids[1], static_cast<int64_t>(kSecond));
    const Outcome got = fast(term, rows.z, sample.target());
    value += got.value / kSamples;
    for (size_t i = 0; i < kTokens; ++i) gradient[i] += static_cast<double>(got.gradient[i]) / kSamples;
  }

  const Doubles p = softmax(rows.y, 1.0), q = softmax(rows.z, 1.0);
  const SampledTop any(rows.y, 48, 0.5);
  double kept = 0.0, of_kept = 0.0, rest = 0.0, of_rest = 0.0, entropy = 0.0;
  for (size_t j = 0; j < 2; ++j) {
    const double share = std::exp(static_cast<double>(any.log_probs[j]));
    kept += share, of_kept -= share * std::log(q[static_cast<size_t>(any.ids[j])]);
  }
  Doubles parts(kParts, 0.0), of_whole(kParts, 0.0);
  for (size_t i = 0; i < kTokens; ++i) {
    entropy -= p[i] * std::log(p[i]);
    if (i == kFirst || i == kSecond) continue;
    rest += p[i], of_rest -= p[i] * std::log(q[i]);
    parts[i % kParts] += gradient[i], of_whole[i % kParts] += static_cast<double>(whole.gradient[i]);
  }
  EXPECT_GT(whole.value, 4.0);
  EXPECT_NEAR(value, of_kept + (1.0 - kept) * of_rest / rest - entropy, 0.0215);
  EXPECT_NEAR(value, whole.value, 0.0215 + 0.016 * (p[kFirst] + p[kSecond]) * 2.5);  // logits of z are 2.5 at most
  for (const size_t i : {kFirst, kSecond}) EXPECT_NEAR(gradient[i], whole.gradient[i], 0.016 * p[i] + 1e-6) << i;
  for (size_t i = 0; i < kParts; ++i) EXPECT_NEAR(parts[i], of_whole[i], 0.00185 + 0.016 / kParts) << i;
}

TEST(BucketRow, AVocabularyWithoutATailIsTheDenseLoss) {
  const Rows rows(50, 8.0, 5);
  for (const LossKind& kind : loss_kinds()) {
    if (!kind.needs_teacher || kind.across) continue;
    const LossTerm term = term_of(kind.name);
    const Top all(rows.y, 50, 0.0);
    const Outcome sparse = fast(term, rows.z, all.target());
    expect_like(sparse, exact(term, rows.z, dense(rows.y)), softmax(rows.y, 1.0), softmax(rows.z, 1.0), 5e-6, 8.0,
                kind.name);
  }
}

}  // namespace
}  // namespace attar
