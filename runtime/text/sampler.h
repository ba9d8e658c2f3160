// Choosing the next token: repetition penalty, temperature, top-k, top-p, min-p, then one draw from a counter-based
// generator keyed by (seed, sequence, position). Never sorts the whole vocabulary.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "runtime/kernels/vocabulary_math.h"
#include "runtime/text/grammar/token_grammar.h"

namespace attar::runtime {

// Added to a token's logit before anything else is done; -infinity: never.
struct TokenBias {
  int32_t token;
  float bias;
};

struct SampleOptions {
  double temperature = 0.8;  // 0: the likeliest token, ties to the lowest id
  int64_t top_k = 40;        // 0: all
  double top_p = 0.95;       // nucleus: the smallest set with at least this probability; 1: all
  double min_p = 0.0;        // drops tokens below min_p times the likeliest
  double repetition_penalty = 1.0;
  int64_t repetition_window_tokens = 64;
  std::vector<TokenBias> bias{};  // no option of recipes: tokens are a model's own
};
template <class Visitor>
void visit_fields(SampleOptions& o, Visitor&& field) {
  field(o.temperature, "temperature",
        "randomness: 0 takes the likeliest token, 1 samples the model's own distribution");
  field(o.top_k, "top_k", "sample from the k likeliest tokens; 0 for all");
  field(o.top_p, "top_p", "sample from the smallest set of tokens with at least this probability; 1 for all");
  field(o.min_p, "min_p", "drop tokens less likely than min_p times the likeliest");
  field(o.repetition_penalty, "repetition_penalty", "divide the logits of recent tokens by this; 1 for off");
  field(o.repetition_window_tokens, "repetition_window_tokens", "how many recent tokens the penalty looks at");
}

// Error{Usage} naming the flag of an impossible value.
void check(const SampleOptions& options);

struct Sampled {
  int32_t token;
  float log_probability;  // under the model's own distribution (temperature 1, nothing cut)
};

// What keys a draw.
struct Draw {
  uint64_t seed = 0, sequence = 0, position = 0;
};

// `history` is the sequence so far. Where there is a grammar, what it does not allow is as if its logit were -infinity,
// before anything is cut: the draw is from the model's own distribution over what is allowed, and then as the options
// say. Error{Input} when the log-sum-exp is not finite, the history or a bias holds an id outside [0, V), or nothing
// may come next. Where the maxima of the logits' blocks are known, the likeliest token and top-k are found without
// looking at the rest, but for what biases and penalties change: the token is the same.
Sampled sample(const SummedLogits& logits, std::span<const int32_t> history, const SampleOptions& options,
               const Draw& draw, const GrammarCursor* grammar = nullptr);
// The same of logits (V) and their log-sum-exp.
Sampled sample(std::span<const float> logits, double lse, std::span<const int32_t> history,
               const SampleOptions& options, const Draw& draw, const GrammarCursor* grammar = nullptr);

}  // namespace attar::runtime
