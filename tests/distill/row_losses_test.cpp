#include "distill/losses/row_losses.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "compress/signal/sampled_signal.h"
#include "distill/losses/row_reference.h"
#include "runtime/base/random.h"

namespace attar {
namespace {

using Floats = std::vector<float>;
using Doubles = std::vector<double>;

// Teacher (2, 1, 0, -1), student (1, 0.5, 0.5, 0): worked out by hand, checked by finite differences.
const Floats kTeacher{2, 1, 0, -1}, kStudent{1, 0.5, 0.5, 0};

struct Outcome {
  double value = 0.0;
  Floats gradient;
};
Outcome fast(const LossTerm& term, const Floats& z, const RowTarget& target, double scale = 1.0) {
  Outcome out{0.0, Floats(z.size(), 0.0f)};
  const std::vector<LossTerm> terms{term};
  RowLosses(terms, static_cast<int64_t>(z.size())).add(z.data(), target, scale, out.gradient.data(), &out.value);
  return out;
}
struct Exact {
  double value = 0.0;
  Doubles gradient;
};
Exact exact(const LossTerm& term, const Floats& z, const RowTarget& target, double scale = 1.0) {
  Exact out{0.0, Doubles(z.size(), 0.0)};
  out.value = row_loss_reference(term, z, target, scale, out.gradient);
  return out;
}

LossTerm term_of(const std::string& name, double temperature = 1.0, const LossSettings& settings = {}) {
  return loss_terms({{name, 1.0}}, settings, temperature, 0.7).at(0);
}
RowTarget dense(const Floats& teacher) {
  return {.token = static_cast<int64_t>(teacher.size() / 2), .teacher = teacher.data()};
}

struct Golden {
  const char* name;
  double temperature, value;
  Doubles gradient;
  LossSettings settings{};
};
const Golden kGoldens[] = {
    {"forward_kl", 1, 0.194689, {-0.256459, -0.001879, 0.147859, 0.110478}},
    {"forward_kl", 2, 0.273796, {-0.278024, -0.059741, 0.157458, 0.180306}},
    {"reverse_kl", 1, 0.247117, {-0.292561, -0.059945, 0.175059, 0.177447}},
    {"reverse_kl", 2, 0.293133, {-0.276742, -0.092460, 0.153675, 0.215527}},
    {"symmetric_kl", 1, 0.220903, {-0.274510, -0.030912, 0.161459, 0.143963}},
    {"jsd", 1, 0.052615, {-0.064480, -0.005985, 0.038869, 0.031596}},
    {"jsd", 2, 0.070160, {-0.068185, -0.018673, 0.038720, 0.048138}},
    {"jsd", 1, 0.042558, {-0.053503, -0.003049, 0.031756, 0.024795}, {{"jsd_beta", 0.3}}},
    {"jsd", 2, 0.058239, {-0.057501, -0.014394, 0.032691, 0.039204}, {{"jsd_beta", 0.3}}},
    {"skew_forward_kl", 1, 0.161480, {-0.205861, -0.008209, 0.121120, 0.092950}},
    {"skew_forward_kl", 2, 0.223460, {-0.222503, -0.053099, 0.126466, 0.149136}},
    {"skew_reverse_kl", 1, 0.184014, {-0.218942, -0.033263, 0.133875, 0.118331}},
    {"skew_reverse_kl", 2, 0.232596, {-0.221655, -0.068587, 0.124820, 0.165422}},
    {"total_variation", 1, 0.258338, {-0.146280, -0.088723, 0.146280, 0.088723}},
    {"total_variation", 2, 0.675528, {-0.276742, -0.215527, 0.276742, 0.215527}},
};

TEST(RowLosses, GoldenRows) {
  for (const Golden& golden : kGoldens) {
    const Outcome got = fast(term_of(golden.name, golden.temperature, golden.settings), kStudent, dense(kTeacher));
    EXPECT_NEAR(got.value, golden.value, 2e-6) << golden.name << " " << golden.temperature;
    for (size_t i = 0; i < 4; ++i) EXPECT_NEAR(got.gradient[i], golden.gradient[i], 2e-6) << golden.name << " " << i;
  }
}

TEST(RowLosses, GoldenTopTwoAndTail) {
  const double lse = std::log(std::exp(2.0) + std::exp(1.0) + 1.0 + std::exp(-1.0));
  const std::vector<int64_t> ids{0, 1, -1};  // the last entry is unused
  const Floats log_probs{static_cast<float>(2.0 - lse), static_cast<float>(1.0 - lse), -HUGE_VALF};
  const Outcome got = fast(term_of("forward_kl"), kStudent, {.top = {ids.data(), log_probs.data(), 3}});
  EXPECT_NEAR(got.value, 0.191549, 2e-6);
  const Doubles expected{-0.256459, -0.001879, 0.160805, 0.097533};
  for (size_t i = 0; i < 4; ++i) EXPECT_NEAR(got.gradient[i], expected[i], 2e-6) << i;
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

Doubles softmax(const Floats& x, double temperature) {
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
void expect_like(const Outcome& got, const Exact& expected, const Doubles& p, const Doubles& q, double relative,
                 double spread, const std::string& where) {
  EXPECT_NEAR(got.value, expected.value, relative * (1.0 + spread) * (1.0 + expected.value)) << where;
  for (size_t i = 0; i < q.size(); ++i)
    if (const double off = relative * (1.0 + spread) * (p[i] + q[i]); q.size() <= 2 || std::abs(p[i] - q[i]) > off) {
      ASSERT_NEAR(got.gradient[i], expected.gradient[i], off + 1e-37) << where << " at " << i;
    }
}
double total(const Doubles& values) {
  double sum = 0.0;
  for (const double v : values) sum += std::abs(v);
  return sum;
}

const LossSettings kSmooth{{"label_smoothing", 0.1}, {"z_loss", 1e-3}};

// Odd sizes around the vector width and the chunk, and two real vocabularies; flat and sharp logits. 2e-6: exponentials
// and sums of f32 lanes.
TEST(RowLosses, EveryKindAgreesWithItsDefinition) {
  for (const LossKind& kind : loss_kinds())
    for (const int64_t n : {1, 2, 15, 17, 257, 4097, 49152, 151936})
      for (const double spread : {1.0, 25.0})
        for (const double t : {1.0, 1.5}) {
          const std::string where = kind.name + (" V = " + std::to_string(n)) + ", spread " + std::to_string(spread);
          const Rows rows(n, spread, 3);
          const LossTerm term = term_of(kind.name, t, kind.needs_teacher ? LossSettings{} : kSmooth);
          Doubles p = softmax(rows.y, term.temperature), q = softmax(rows.z, term.temperature);
          if (!kind.needs_teacher)
            for (size_t i = 0; i < p.size(); ++i) p[i] = i == p.size() / 2 ? 1.0 : 0.1 / static_cast<double>(n);
          const Outcome got = fast(term, rows.z, dense(rows.y), 0.5);
          const Exact expected = exact(term, rows.z, dense(rows.y), 0.5);
          expect_like(got, expected, p, q, 2e-6, spread, where);
          EXPECT_GE(got.value, 0.0);
          if (n > 2) {
            EXPECT_GT(total(expected.gradient), 1e-3) << where;
          }
        }
}

TEST(RowLosses, EveryKindAgreesWithItsDefinitionOnTheLikeliestTokens) {
  constexpr int64_t kKept = 7;
  for (const LossKind& kind : loss_kinds()) {
    if (!kind.needs_teacher) continue;
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

// Central differences of the definition, over the step that f32 logits really take. Not of those whose target or
// weights are constants to the gradient.
TEST(RowLosses, GradientsAreDifferences) {
  const Rows rows(257, 6.0, 5);
  const Top top(rows.y, 5, 0.3);
  for (const LossKind& kind : loss_kinds()) {
    const std::string name = kind.name;
    if (name == "taid" || name == "adaptive_kl") continue;
    for (const double t : {1.0, 2.0})
      for (const bool cached : {false, true}) {
        const LossTerm term = term_of(name, t, kind.needs_teacher ? LossSettings{} : kSmooth);
        const RowTarget target = cached && kind.needs_teacher ? top.target() : dense(rows.y);
        const Exact at = exact(term, rows.z, target);
        for (const size_t i : {size_t{0}, size_t{128}, size_t{256}, static_cast<size_t>(top.ids[0])}) {
          Floats up = rows.z, down = rows.z;
          up[i] += 1e-3f, down[i] -= 1e-3f;
          const double step = static_cast<double>(up[i]) - static_cast<double>(down[i]);
          const double difference = (exact(term, up, target).value - exact(term, down, target).value) / step;
          EXPECT_NEAR(at.gradient[i], difference, 1e-5 * std::abs(difference) + 1e-9)
              << name << " at " << i << " cached " << cached;
        }
      }
  }
}

TEST(RowLosses, TaidIsForwardKlToTheMixedLogits) {
  const Rows rows(300, 8.0, 2);
  Floats mixed;
  for (size_t i = 0; i < 300; ++i) mixed.push_back(0.3f * rows.z[i] + 0.7f * rows.y[i]);
  const Exact taid = exact(term_of("taid", 1.5), rows.z, dense(rows.y)),
              kl = exact(term_of("forward_kl", 1.5), rows.z, dense(mixed));
  EXPECT_NEAR(taid.value, kl.value, 1e-6 * kl.value);
  for (size_t i = 0; i < 300; ++i) EXPECT_NEAR(taid.gradient[i], kl.gradient[i], 1e-7);
}

TEST(RowLosses, AdaptiveKlWeighsByWhereTheTeacherIsSure) {
  // p = (.6, .3, .1): the head is the first token, gap .2 of .4
  const Floats y{std::log(0.6f), std::log(0.3f), std::log(0.1f)}, z{std::log(0.4f), std::log(0.4f), std::log(0.2f)};
  EXPECT_NEAR(fast(term_of("adaptive_kl"), z, dense(y)).value, fast(term_of("symmetric_kl"), z, dense(y)).value, 1e-6);
  // q = (.2, .3, .5): gap .4 of .8 again; with more of the head wanted, two tokens are in it: still .4
  const Floats other{std::log(0.2f), std::log(0.3f), std::log(0.5f)};
  EXPECT_NEAR(fast(term_of("adaptive_kl", 1.0, {{"head_mass", 0.95}}), other, dense(y)).value,
              fast(term_of("forward_kl"), other, dense(y)).value, 1e-6);
}

TEST(HeadThreshold, LeastOfTheLikeliestTokens) {
  const Floats p{0.1f, 0.4f, 0.05f, 0.3f, 0.15f};
  for (const auto& [mass, expected] : std::vector<std::pair<double, float>>{
           {0.01, 0.4f}, {0.39, 0.4f}, {0.41, 0.3f}, {0.71, 0.15f}, {0.86, 0.1f}, {0.96, 0.05f}, {2.0, 0.05f}}) {
    Floats copy = p;
    EXPECT_EQ(head_threshold(copy, mass), static_cast<double>(expected)) << mass;
  }
}

TEST(RowLosses, TermsAddUpAndEachHasItsTemperature) {
  const Rows rows(1000, 6.0, 9);
  const std::vector<LossTerm> terms =
      loss_terms({{"forward_kl", 0.5}, {"jsd", 2.0}, {"cross_entropy", 0.25}, {"reverse_kl", 0.0}},
                 {{"jsd_temperature", 3.0}}, 2.0, 1.0);
  ASSERT_EQ(terms.size(), 3u);  // by name: cross_entropy, forward_kl, jsd
  EXPECT_EQ(terms[0].temperature, 1.0);
  EXPECT_EQ(terms[1].temperature, 2.0);
  EXPECT_EQ(terms[2].temperature, 3.0);
  Floats gradient(1000, 0.0f);
  Doubles values(3), sum(1000, 0.0);
  RowLosses(terms, 1000).add(rows.z.data(), dense(rows.y), 0.125, gradient.data(), values.data());
  for (size_t t = 0; t < 3; ++t) {
    const Exact alone = exact(terms[t], rows.z, dense(rows.y), 0.125 * terms[t].weight);
    EXPECT_NEAR(values[t], alone.value, 1e-5 * alone.value);
    for (size_t i = 0; i < 1000; ++i) sum[i] += alone.gradient[i];
  }
  for (size_t i = 0; i < 1000; ++i) EXPECT_NEAR(gradient[i], sum[i], 1e-7);
}

TEST(RowLosses, PropertiesOfEveryDivergence) {
  const Rows rows(777, 10.0, 1);
  for (const LossKind& kind : loss_kinds()) {
    if (!kind.needs_teacher) continue;
    const LossTerm term = term_of(kind.name, 2.0);
    EXPECT_NEAR(fast(term, rows.z, dense(rows.z)).value, 0.0, 1e-5) << kind.name;
    const Outcome got = fast(term, rows.z, dense(rows.y));
    EXPECT_GT(got.value, 0.05) << kind.name;
    double sum = 0.0;
    for (const float g : got.gradient) sum += static_cast<double>(g);
    EXPECT_NEAR(sum, 0.0, 1e-5) << kind.name;
    Floats shifted = rows.z;
    for (float& v : shifted) v += 100.0f;
    EXPECT_NEAR(fast(term, shifted, dense(rows.y)).value, got.value, 1e-4 * got.value) << kind.name;
    const Rows far(777, 2e4, 4);
    const Outcome finite = fast(term, far.z, dense(far.y));
    EXPECT_TRUE(std::isfinite(finite.value)) << kind.name;
    for (const float g : finite.gradient) ASSERT_TRUE(std::isfinite(g)) << kind.name;
  }
}

TEST(RowLosses, BoundedDivergencesKeepTheirBounds) {
  const Rows far(500, 2e3, 8);
  const auto value = [&](const char* name) { return fast(term_of(name), far.z, dense(far.y)).value; };
  EXPECT_NEAR(value("total_variation"), 1.0, 1e-5);
  EXPECT_NEAR(value("jsd"), std::log(2.0), 1e-4);
  EXPECT_NEAR(value("skew_forward_kl"), -std::log(0.1), 1e-4);
  EXPECT_NEAR(value("skew_reverse_kl"), -std::log(0.1), 1e-4);
}

TEST(RowLosses, NaNIsNoLossOfZero) {
  const Floats broken{1, std::nanf(""), 0.5, 0};
  const std::vector<int64_t> ids{0, 1};
  const Floats log_probs{-0.5f, -1.5f};
  for (const LossKind& kind : loss_kinds()) {
    const LossTerm term = term_of(kind.name);
    EXPECT_TRUE(std::isnan(fast(term, broken, dense(kTeacher)).value)) << kind.name;
    if (!kind.needs_teacher) continue;
    EXPECT_TRUE(std::isnan(fast(term, kStudent, dense(broken)).value)) << kind.name;
    EXPECT_TRUE(std::isnan(fast(term, broken, {.top = {ids.data(), log_probs.data(), 2}}).value)) << kind.name;
  }
}

TEST(BucketRow, ATokenTheStudentLacksIsRenormalisedAway) {
  // p = (0.5, 0.3) kept, 0.1 of a token that was cut, tail 0.1: what is left is (5/9, 3/9, tail 1/9)
  const std::vector<int64_t> ids{0, 1, -1};
  const Floats cut{std::log(0.5f), std::log(0.3f), std::log(0.1f)}, whole{std::log(5.0f / 9), std::log(3.0f / 9)};
  for (const LossKind& kind : loss_kinds()) {
    if (!kind.needs_teacher) continue;
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
    if (!kind.needs_teacher) continue;
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

// 2,000 samples of a row: the mean of value and gradient is that of the whole distribution. 48 draws a sample, 96,000
// in all: a token's share is off by the root of p / 96,000 at most, one that is kept exactly by 1.6 %.
TEST(BucketRow, ASampleHasTheLossOfTheWholeInTheMean) {
  const Rows rows(300, 5.0, 4);
  const LossTerm term = term_of("forward_kl");
  const Outcome whole = fast(term, rows.z, dense(rows.y));
  double lse = 0.0;
  for (const float v : rows.y) lse += std::exp(static_cast<double>(v));
  lse = std::log(lse);
  constexpr int kSamples = 2000;
  double value = 0.0;
  Doubles gradient(300, 0.0);
  for (int s = 0; s < kSamples; ++s) {
    const SampledRow row = sample_row(rows.y, lse, {}, 0.0, 48, CounterRandom(9).uniform(static_cast<uint64_t>(s)));
    std::vector<int64_t> ids;
    Floats log_probs;
    for (const TokenShare& share : shares_of(row)) {
      ids.push_back(share.id);
      log_probs.push_back(static_cast<float>(std::log(share.probability)));
    }
    const auto k = static_cast<int64_t>(ids.size());
    const Outcome got = fast(term, rows.z, {.top = {ids.data(), log_probs.data(), k, static_cast<float>(row.entropy)}});
    value += got.value / kSamples;
    for (size_t i = 0; i < 300; ++i) gradient[i] += static_cast<double>(got.gradient[i]) / kSamples;
  }
  EXPECT_NEAR(value, whole.value, 0.02);
  EXPECT_GT(whole.value, 0.5);
  const Doubles p = softmax(rows.y, 1.0);
  for (size_t i = 0; i < 300; ++i)
    EXPECT_NEAR(gradient[i], whole.gradient[i], 5.0 * std::sqrt(p[i] / 96000.0) + 0.02 * p[i]) << i;
}

TEST(BucketRow, AVocabularyWithoutATailIsTheDenseLoss) {
  const Rows rows(50, 8.0, 5);
  for (const LossKind& kind : loss_kinds()) {
    if (!kind.needs_teacher) continue;
    const LossTerm term = term_of(kind.name);
    const Top all(rows.y, 50, 0.0);
    const Outcome sparse = fast(term, rows.z, all.target());
    expect_like(sparse, exact(term, rows.z, dense(rows.y)), softmax(rows.y, 1.0), softmax(rows.z, 1.0), 5e-6, 8.0,
                kind.name);
  }
}

}  // namespace
}  // namespace attar
