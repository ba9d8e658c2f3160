// What a model thinks of given tokens: log-probabilities, and the likeliest next tokens.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "runtime/base/progress.h"
#include "runtime/formats/model_text.h"
#include "runtime/model/model.h"

namespace attar::runtime {

// The log-sum-exp of a row of logits (V) of the model that the user named so. Error{Input} naming it when that is not
// finite: weights that are finite one by one can still overflow together.
double finite_log_sum_exp(const std::string& model, std::span<const float> logits);
// The same logits, where their log-sum-exp is finite.
SummedLogits finite_logits(const Model& model, const SummedLogits& logits);

// What the tokens up to `position` say about the next one.
struct Prediction {
  int64_t position;
  std::span<const float> logits;  // (V)
  double lse;                     // their log-sum-exp, finite
};

// Visits every position of `tokens` that predicts a next one (0 .. n-2), in order. `progress` counts tokens and is
// asked between passes.
void for_each_logits(const Model& model, std::span<const int32_t> tokens, Workspace& work,
                     const std::function<void(const Prediction&)>& visit, const Progress& progress = {});

// The same behind what `cache` holds, the sequence's first tokens; positions before `first` are read, not visited.
void for_each_logits_from(const Model& model, KvCache& cache, std::span<const int32_t> tokens, size_t first,
                          Workspace& work, const std::function<void(const Prediction&)>& visit,
                          const Progress& progress = {});

// log p(tokens[i] | tokens[0..i-1]); entry 0 is NaN (nothing predicts it). -> (n)
std::vector<double> score_tokens(const Model& model, std::span<const int32_t> tokens, Workspace& work,
                                 const Progress& progress = {});

// A part of a text that is scored by itself: at most as many tokens as a context has, behind what the tokenizer begins
// every text with.
struct TextWindow {
  std::vector<int32_t> ids;      // (n)
  std::vector<uint8_t> counted;  // (n) 1: the token is scored
  std::vector<size_t> bytes;     // (n) of the text that each token stands for
};
std::vector<TextWindow> text_windows(const Tokenizer& tokenizer, const ModelText& text, int64_t context);

// A distribution over the next token, as its likeliest k.
struct TopK {
  std::vector<int32_t> ids;      // (k), likeliest first
  std::vector<float> log_probs;  // (k), natural log, temperature 1
  float tail_mass = 0.0f;        // 1 - sum of the k probabilities
};
TopK top_k_of(std::span<const float> logits, int64_t k);  // logits (V), k <= V

}  // namespace attar::runtime
