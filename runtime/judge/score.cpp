#include "runtime/judge/score.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "runtime/base/error.h"
#include "runtime/base/host/float_environment.h"
#include "runtime/kernels/vocabulary_math.h"

namespace attar::runtime {
namespace {

constexpr size_t kPassRows = 64;  // rows whose logits are held at once

double expect_finite(const std::string& model, double lse) {
  if (!std::isfinite(lse))
    throw input_error(model, "the model's logits are not finite", {}, {},
                      "its weights overflow: the file is damaged or its training diverged");
  return lse;
}

}  // namespace

double finite_log_sum_exp(const std::string& model, std::span<const float> logits) {
  return expect_finite(model, log_sum_exp(logits));
}

SummedLogits finite_logits(const Model& model, const SummedLogits& logits) {
  expect_finite(model.source(), logits.lse);
  return logits;
}

void for_each_logits(const Model& model, std::span<const int32_t> tokens, Workspace& work,
                     const std::function<void(const Prediction&)>& visit, const Progress& progress) {
  KvCache cache(model);
  for_each_logits_from(model, cache, tokens, 0, work, visit, progress);
}

void for_each_logits_from(const Model& model, KvCache& cache, std::span<const int32_t> tokens, size_t first,
                          Workspace& work, const std::function<void(const Prediction&)>& visit,
                          const Progress& progress) {
  check_tokens(model, tokens);
  if (tokens.size() < 2) return;
  const FloatEnvironment floats;
  std::vector<Row> rows;
  for (auto begin = static_cast<size_t>(cache.length_tokens()); begin + 1 < tokens.size(); begin += kPassRows) {
    const size_t end = std::min(begin + kPassRows, tokens.size() - 1);
    rows.clear();
    for (size_t i = begin; i < end; ++i) rows.push_back({&cache, tokens[i], i >= first});
    forward(model, rows, work, {}, Answers::Summed);
    for (size_t i = std::max(begin, first), asked = 0; i < end; ++i, ++asked) {
      const SummedLogits logits = finite_logits(model, work.summed(static_cast<int64_t>(asked)));
      visit({static_cast<int64_t>(i), logits.values, logits.lse});
    }
    report(progress, {.stage = "score",
                      .unit = "tokens",
                      .done = static_cast<int64_t>(end),
                      .total = static_cast<int64_t>(tokens.size()) - 1});
  }
}

std::vector<double> score_tokens(const Model& model, std::span<const int32_t> tokens, Workspace& work,
                                 const Progress& progress) {
  std::vector<double> scores(tokens.size(), std::numeric_limits<double>::quiet_NaN());
  const auto visit = [&](const Prediction& p) {
    const auto next = static_cast<size_t>(p.position) + 1;
    scores[next] = static_cast<double>(p.logits[static_cast<size_t>(tokens[next])]) - p.lse;
  };
  for_each_logits(model, tokens, work, visit, progress);
  return scores;
}

std::vector<TextWindow> text_windows(const Tokenizer& tokenizer, const ModelText& text, int64_t context) {
  const EncodedText encoded = encode(tokenizer, text);
  const std::vector<uint8_t> counted = counted_tokens(encoded, text);
  const std::span<const int32_t> start = tokenizer.start();
  std::vector<TextWindow> windows;
  for (const TokenRange range : windows_of(encoded.ids.size(), static_cast<size_t>(context), start.size())) {
    TextWindow& window = windows.emplace_back();
    if (range.begin > 0) {
      window.ids.assign(start.begin(), start.end());
      window.counted.assign(start.size(), 0);
      window.bytes.assign(start.size(), 0);
    }
    for (size_t t = range.begin; t < range.end; ++t) {
      window.ids.push_back(encoded.ids[t]);
      window.counted.push_back(window.ids.size() > 1 ? counted[t] : 0);
      window.bytes.push_back(encoded.ends[t] - (t > 0 ? encoded.ends[t - 1] : 0));
    }
  }
  return windows;
}

TopK top_k_of(std::span<const float> logits, int64_t k) {
  TopK signal;
  signal.ids = top_indices(logits, k);
  const double lse = log_sum_exp(logits);
  double mass = 0.0;
  for (const int32_t id : signal.ids) {
    const double log_prob = static_cast<double>(logits[static_cast<size_t>(id)]) - lse;
    signal.log_probs.push_back(static_cast<float>(log_prob));
    mass += std::exp(log_prob);
  }
  signal.tail_mass = static_cast<float>(std::max(0.0, 1.0 - mass));
  return signal;
}

}  // namespace attar::runtime
