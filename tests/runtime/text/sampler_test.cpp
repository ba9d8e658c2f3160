#include "runtime/text/sampler.h"

#include <gtest/gtest.h>

#include <cmath>
#include <set>

#include "runtime/base/random.h"
#include "runtime/kernels/vocabulary_math.h"

namespace attar::runtime {
namespace {

// Plain sampling: nothing cut.
SampleOptions plain() {
  return {.temperature = 1.0, .top_k = 0, .top_p = 1.0};
}

Sampled sample(std::span<const float> logits, std::span<const int32_t> history, const SampleOptions& options,
               uint64_t seed, uint64_t sequence, uint64_t position) {
  return runtime::sample(logits, log_sum_exp(logits), history, options, {seed, sequence, position});
}

std::vector<float> logits_of(const std::vector<double>& probabilities) {
  std::vector<float> logits;
  for (const double p : probabilities) logits.push_back(static_cast<float>(std::log(p)));
  return logits;
}

std::vector<double> shares(const std::vector<float>& logits, const SampleOptions& options, uint64_t n) {
  std::vector<double> counts(logits.size());
  for (uint64_t position = 0; position < n; ++position)
    counts[static_cast<size_t>(sample(logits, {}, options, 7, 3, position).token)] += 1.0 / static_cast<double>(n);
  return counts;
}

TEST(Sampler, TemperatureZeroTakesTheLikeliestWithTiesToTheLowest) {
  const std::vector<float> logits{1, 3, 3, 0};
  const Sampled got = sample(logits, {}, {.temperature = 0.0}, 1, 2, 3);
  EXPECT_EQ(got.token, 1);
  EXPECT_NEAR(got.log_probability, 3.0 - std::log(std::exp(1.0) + 2.0 * std::exp(3.0) + 1.0), 1e-6);
}

TEST(Sampler, DrawsFollowTheDistribution) {
  const std::vector<double> p{0.5, 0.3, 0.15, 0.05};
  const std::vector<float> logits = logits_of(p);
  constexpr uint64_t n = 20000;
  const std::vector<double> got = shares(logits, plain(), n);
  for (size_t i = 0; i < p.size(); ++i)
    EXPECT_NEAR(got[i], p[i], 4.0 * std::sqrt(p[i] * (1.0 - p[i]) / static_cast<double>(n))) << i;
  // A list that is cut by a limit which cuts nothing gives the same distribution.
  SampleOptions all = plain();
  all.top_k = 4;
  const std::vector<double> listed = shares(logits, all, n);
  for (size_t i = 0; i < p.size(); ++i)
    EXPECT_NEAR(listed[i], p[i], 4.0 * std::sqrt(p[i] * (1.0 - p[i]) / static_cast<double>(n))) << i;
}

TEST(Sampler, TemperatureSharpens) {
  SampleOptions cold = plain();
  cold.temperature = 0.5;  // squares probabilities: 0.64 : 0.04 -> 0.941
  EXPECT_NEAR(shares(logits_of({0.8, 0.2}), cold, 20000)[0], 0.64 / 0.68, 0.007);
}

TEST(Sampler, CutsWhatTheOptionsCut) {
  const std::vector<float> logits = logits_of({0.2, 0.5, 0.3});
  const auto seen = [&](SampleOptions options) {
    std::set<int32_t> ids;
    for (uint64_t position = 0; position < 500; ++position)
      ids.insert(sample(logits, {}, options, 1, 1, position).token);
    return ids;
  };
  using Ids = std::set<int32_t>;
  SampleOptions options = plain();
  EXPECT_EQ(seen(options), (Ids{0, 1, 2}));
  options.top_k = 2;
  EXPECT_EQ(seen(options), (Ids{1, 2}));
  options = plain();
  options.top_p = 0.4;
  EXPECT_EQ(seen(options), (Ids{1}));
  options.top_p = 0.6;
  EXPECT_EQ(seen(options), (Ids{1, 2}));
  options = plain();
  options.min_p = 0.5;  // of 0.5: 0.25
  EXPECT_EQ(seen(options), (Ids{1, 2}));
  options.min_p = 1.0;
  EXPECT_EQ(seen(options), (Ids{1}));
}

// transformers' order: 0.5 alone is less than 0.55 of all, though not of what min-p leaves.
TEST(Sampler, TopPIsAShareOfWhatMinPDropsToo) {
  const std::vector<float> logits = logits_of({0.16, 0.5, 0.18, 0.16});
  SampleOptions options = plain();
  options.top_p = 0.55, options.min_p = 0.35;
  const auto seen = [&] {
    std::set<int32_t> ids;
    for (uint64_t position = 0; position < 500; ++position)
      ids.insert(sample(logits, {}, options, 1, 1, position).token);
    return ids;
  };
  EXPECT_EQ(seen(), (std::set<int32_t>{1, 2}));
  options.min_p = 0.4;
  EXPECT_EQ(seen(), (std::set<int32_t>{1})) << "0.18 is below 0.4 of 0.5";
}

TEST(Sampler, RepetitionPenaltyLooksAtTheWindow) {
  const std::vector<float> logits{2.0f, 1.5f, -1.0f, -1.2f};
  SampleOptions options{.temperature = 0.0, .repetition_penalty = 2.0, .repetition_window_tokens = 2};
  const std::vector<int32_t> history{1, 0, 0};
  EXPECT_EQ(sample(logits, history, options, 0, 0, 0).token, 1) << "2.0 becomes 1.0; token 1 is outside the window";
  options.repetition_window_tokens = 3;
  EXPECT_EQ(sample(logits, history, options, 0, 0, 0).token, 0) << "both halved";
  const std::vector<float> negative{-1.0f, -1.2f};
  EXPECT_EQ(sample(negative, std::vector<int32_t>{0}, options, 0, 0, 0).token, 1) << "-1.0 becomes -2.0";
  const Sampled penalised = sample(negative, std::vector<int32_t>{0}, options, 0, 0, 0);
  EXPECT_NEAR(penalised.log_probability, -1.2 - std::log(std::exp(-1.0) + std::exp(-1.2)), 1e-6)
      << "log-probabilities are the model's own";
}

TEST(Sampler, ADrawDependsOnSeedSequenceAndPositionOnly) {
  const std::vector<float> logits(50, 0.0f);
  const auto draw = [&](uint64_t seed, uint64_t sequence) {
    std::vector<int32_t> ids;
    for (uint64_t position = 0; position < 20; ++position)
      ids.push_back(sample(logits, {}, plain(), seed, sequence, position).token);
    return ids;
  };
  EXPECT_EQ(draw(1, 1), draw(1, 1));
  EXPECT_NE(draw(1, 1), draw(2, 1));
  EXPECT_NE(draw(1, 1), draw(1, 2));
}

std::vector<float> maxima_of(const std::vector<float>& logits) {
  std::vector<float> maxima(static_cast<size_t>(logit_blocks(static_cast<int64_t>(logits.size()))));
  block_maxima(logits, maxima.data());
  return maxima;
}

// Spread out, with ties, nearly tied, all alike, with one that stands out, many impossible.
std::vector<std::vector<float>> rows_of_logits() {
  constexpr size_t kSize = 20013;
  const CounterRandom random(5);
  std::vector<std::vector<float>> rows(6, std::vector<float>(kSize, 1.5f));
  for (size_t i = 0; i < kSize; ++i) {
    const double u = random.uniform(i), v = random.uniform(i + kSize);
    rows[0][i] = static_cast<float>(20.0 * u * v - 4.0);
    rows[1][i] = static_cast<float>(std::round(4.0 * u));
    rows[2][i] = 3.0f + static_cast<float>(std::floor(9.0 * u)) * 2.5e-7f;  // an f32 step each: weights round together
    rows[5][i] = u < 0.5 ? -INFINITY : static_cast<float>(6.0 * v);
  }
  rows[4][kSize - 5] = 30.0f;
  return rows;
}

TEST(Sampler, FindsTheSameByTheMaximaOfBlocks) {
  const std::vector<std::vector<float>> rows = rows_of_logits();
  for (size_t row = 0; row < rows.size(); ++row) {
    const std::vector<float> maxima = maxima_of(rows[row]);
    const double lse = log_sum_exp(rows[row]);
    for (const double temperature : {0.0, 1e-3, 0.8, 1.0, 5.0, 100.0})
      for (const int64_t top_k : {0, 1, 5, 40, 70, 71})
        for (const double top_p : {1.0, 0.95, 0.3})
          for (const double min_p : {0.0, 0.05}) {
            const SampleOptions options = {.temperature = temperature, .top_k = top_k, .top_p = top_p, .min_p = min_p};
            for (uint64_t position = 0; position < 3; ++position) {
              const Draw draw{7, 1, position};
              const Sampled plain = runtime::sample(rows[row], lse, {}, options, draw);
              const Sampled found = runtime::sample({rows[row], lse, maxima}, {}, options, draw);
              ASSERT_EQ(found.token, plain.token) << row << " " << temperature << " " << top_k << " " << top_p;
              ASSERT_EQ(found.log_probability, plain.log_probability);
            }
          }
  }
}

// Of likely tokens and of others, once and twice.
TEST(Sampler, FindsTheSameWhereBiasesAndPenaltiesChangeLogits) {
  const std::vector<std::vector<float>> rows = rows_of_logits();
  for (size_t row = 0; row < rows.size(); ++row) {
    const std::vector<float> maxima = maxima_of(rows[row]);
    const double lse = log_sum_exp(rows[row]);
    std::vector<int32_t> history = top_indices(rows[row], 12);
    history.insert(history.end(), {7, 19999, 7, 300});
    for (const double temperature : {0.0, 0.8, 5.0})
      for (const int64_t top_k : {1, 5, 30})
        for (const double penalty : {1.0, 1.3, 0.7})
          for (const int biases : {0, 1, 2}) {
            SampleOptions options = {.temperature = temperature, .top_k = top_k, .repetition_penalty = penalty};
            if (biases > 0) options.bias = {{3, 2.5f}, {history[1], -INFINITY}, {3, -1.0f}};
            if (biases > 1) options.bias.push_back({700, 40.0f});
            for (uint64_t position = 0; position < 4; ++position) {
              const Draw draw{7, 1, position};
              const Sampled plain = runtime::sample(rows[row], lse, history, options, draw);
              const Sampled found = runtime::sample({rows[row], lse, maxima}, history, options, draw);
              ASSERT_EQ(found.token, plain.token)
                  << row << " " << temperature << " " << top_k << " " << penalty << " " << biases;
              ASSERT_EQ(found.log_probability, plain.log_probability);
            }
          }
  }
}

TEST(Sampler, LooksOnlyWhereTheMaximaSay) {
  std::vector<float> logits(20013, 0.0f);
  logits[5] = 9.0f, logits[700] = 8.0f;
  std::vector<float> maxima = maxima_of(logits);
  SampleOptions options = {.temperature = 0.0};
  std::vector<int32_t> history;
  const auto token = [&] { return runtime::sample({logits, log_sum_exp(logits), maxima}, history, options, {}).token; };
  EXPECT_EQ(token(), 5);
  maxima[0] = -1.0f;
  EXPECT_EQ(token(), 700) << "the likeliest";
  options.temperature = 1e-3;
  EXPECT_EQ(token(), 700) << "top-k";
  options.repetition_penalty = 1.1;
  history = {900};
  EXPECT_EQ(token(), 700) << "what is changed is looked at beside these";
  history = {5};
  EXPECT_EQ(token(), 5);
  history = {700, 5};
  options.bias = {{900, 9.0f}};
  EXPECT_EQ(token(), 900);
  options.top_k = 0;
  options.bias = {}, history = {};
  EXPECT_EQ(token(), 5) << "all are looked at";
}

TEST(Sampler, AlmostNoTemperatureTakesTheLikeliest) {
  const std::vector<float> logits{30.0f, 31.0f, 31.5f, -40.0f};
  for (const double temperature : {1e-3, 1e-6, 1e-40, 1e-300}) {
    SampleOptions cold = plain(), cut = {};
    cold.temperature = cut.temperature = temperature;
    for (uint64_t position = 0; position < 50; ++position) {
      EXPECT_EQ(sample(logits, {}, cold, 1, 1, position).token, 2) << temperature;
      EXPECT_EQ(sample(logits, {}, cut, 1, 1, position).token, 2) << temperature;
    }
  }
}

}  // namespace
}  // namespace attar::runtime
