// What forward() gives of tiny models, to be compared.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "runtime/base/random.h"
#include "runtime/model/model.h"
#include "tests/runtime/tiny_model.h"

namespace attar::runtime {

inline constexpr Family kFamilies[] = {Family::Llama, Family::Qwen2, Family::Qwen3, Family::Gemma3};

inline std::vector<int32_t> random_tokens(int64_t n, uint64_t seed) {
  const CounterRandom random(seed);
  std::vector<int32_t> tokens(static_cast<size_t>(n));
  for (size_t i = 0; i < tokens.size(); ++i) tokens[i] = static_cast<int32_t>(random.below(i, 32));
  return tokens;
}

using Logits = std::vector<std::vector<float>>;  // (T, V)

// All tokens, `chunk` at a time.
inline Logits run(const Model& model, const std::vector<int32_t>& tokens, size_t chunk, ThreadPool& pool) {
  Workspace work(model, pool);
  KvCache cache(model);
  Logits logits;
  for (size_t at = 0; at < tokens.size(); at += chunk) {
    std::vector<Row> rows;
    for (size_t i = at; i < std::min(at + chunk, tokens.size()); ++i) rows.push_back({&cache, tokens[i], true});
    forward(model, rows, work);
    for (size_t i = 0; i < rows.size(); ++i) {
      const auto row = work.logits(static_cast<int64_t>(i));
      logits.emplace_back(row.begin(), row.end());
    }
  }
  EXPECT_EQ(cache.length_tokens(), static_cast<int64_t>(tokens.size()));
  return logits;
}

// Largest difference, as a share of the largest expected logit.
inline double distance(const Logits& got, const std::vector<std::vector<double>>& expected) {
  double worst = 0.0, scale = 0.0;
  for (size_t t = 0; t < expected.size(); ++t)
    for (size_t v = 0; v < expected[t].size(); ++v) {
      worst = std::max(worst, std::fabs(got[t][v] - expected[t][v]));
      scale = std::max(scale, std::fabs(expected[t][v]));
    }
  return std::isfinite(worst) ? worst / scale : std::numeric_limits<double>::infinity();
}

inline std::string describe(const TinyOptions& o, Isa isa) {
  return std::string(traits(o.family).name) + (o.layout == Layout::Gguf ? " gguf " : " hf ") +
         format_of(o.matrix_type).name + (o.tied ? " tied " : " untied ") + isa_name(isa);
}

}  // namespace attar::runtime
