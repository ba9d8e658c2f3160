// What an endpoint answers, out of the JSON of its API (OpenAI's chat completions and completions, as llama.cpp, vLLM
// and Ollama speak them too).
#pragma once

#include <string>
#include <vector>

namespace attar {

// A token as the endpoint's own tokenizer has it, and the logarithm of its probability.
struct TokenChance {
  std::string bytes;
  double log_prob = 0.0;
};

struct AnswerToken {
  TokenChance said;
  std::vector<TokenChance> likeliest{};  // `top_logprobs`; `said` may be among them
};

struct Answer {
  std::string text{};
  bool ended = false;                 // by the model itself; else cut, at max_tokens or by a filter
  std::vector<AnswerToken> tokens{};  // their bytes are the text; empty: no probabilities were given
};

// `choice`: an entry of `choices`, as JSON. An answer without words (a refusal, a call of a tool) has no text.
// Error{Input} at `where`: it is no choice.
Answer answer_of(const std::string& choice, const std::string& where);

}  // namespace attar
