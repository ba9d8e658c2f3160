// Text from a model: one streaming continuation. Many at once: batch_engine.h, generate_batch.h.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/base/progress.h"
#include "runtime/model/model.h"
#include "runtime/text/grammar/grammars.h"
#include "runtime/text/sampler.h"
#include "runtime/text/speculation.h"

namespace attar::runtime {

struct GenerateOptions {
  int64_t max_tokens = 256;  // at least 0
  SampleOptions sampling;
  uint64_t seed = 0;
  std::vector<std::string> stop;  // cut before the first occurrence; may cross tokens and UTF-8 borders
  int64_t lookup = 0;             // most tokens guessed at once from the text so far; 0: none
  Draft* draft = nullptr;         // guesses where nothing is looked up; must outlive the text
  // What the text must be, from its first byte on, as users give it: read_grammar(). It ends where nothing more may
  // come; cut short it may be unfinished.
  std::string grammar{}, json_schema{};
  // The same, read already: Grammars keeps what is found out about it for the texts that come after.
  std::shared_ptr<TokenGrammar> keeps_to{};
  std::map<std::string, double> logit_bias{};  // by token id, or text of a token
  // Sees, and may change, the logits (V) that a token is to be drawn from, before biases and grammar; the text then
  // ends in Error{Interrupted} when it answers Stop.
  std::function<Flow(std::span<float> logits)> on_logits{};
};
template <class Visitor>
void visit_fields(GenerateOptions& o, Visitor&& field) {  // the seed is of the whole call
  field(o.max_tokens, "max_tokens", "most tokens of an answer");
  field(o.stop, "stop", "end before one of these texts");
  field(
      o.lookup, "lookup",
      "most tokens guessed at once from the text so far: the answer is the same, sooner where it quotes or repeats; 0 "
      "for off");
  field(o.grammar, "grammar",
        "what the answer must be, from beginning to end: a file of GBNF, llama.cpp's grammars, or GBNF itself");
  field(o.json_schema, "json_schema", "answer with JSON under this schema: a file, or the schema itself");
  field(o.logit_bias, "logit_bias",
        "added to the logit of a token, named by its id or its text: -1000 for never, above 0 for sooner");
  visit_fields(o.sampling, field);
}

// Error{Usage} for options that no text could be written with, before there is a model: sampling, and a grammar with
// the place in it.
void check(const GenerateOptions& options);
// The grammar that the options ask for, or nullptr. `grammars` are of the model.
std::shared_ptr<TokenGrammar> grammar_of(const GenerateOptions& options, Grammars& grammars);

enum class StopReason { EndOfText, StopString, MaxTokens, ContextFull, Interrupted };
const char* name_of(StopReason reason);  // "end_of_text", ...

struct Generated {
  std::vector<int32_t> tokens;
  std::string text;  // whole UTF-8 sequences only
  StopReason reason;
  Speculation speculation{};
};

// One continuation of `prompt`, piece by piece. The cache may hold the first tokens of the prompt already: the text is
// the same either way. Model, cache and workspace must outlive it; afterwards the cache holds no more than prompt and
// text.
class Continuation {
 public:
  // Error{Usage}: the cache holds all of the prompt.
  Continuation(const Model& model, KvCache& cache, std::span<const int32_t> prompt, GenerateOptions options,
               Workspace& work);
  ~Continuation();

  // Goes on by one token; at the end, once more for what was held back. -> the whole UTF-8 characters that have become
  // certain: never part of a stop string, often none, bytes that are not UTF-8 as U+FFFD; nullopt behind the end.
  // `progress` is asked between the passes of a long prompt.
  std::optional<std::string> next(const Progress& progress = {});
  bool ended() const;
  const Generated& result() const;  // of what there is so far

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// The whole of it. `on_text` is called with each piece, the empty ones too, and answers false to stop.
Generated generate(const Model& model, KvCache& cache, std::span<const int32_t> prompt, const GenerateOptions& options,
                   Workspace& work, const std::function<bool(std::string_view)>& on_text = {},
                   const Progress& progress = {});

}  // namespace attar::runtime
