#include "runtime/text/generate.h"

#include "runtime/base/error.h"
#include "runtime/base/host/float_environment.h"
#include "runtime/text/writing.h"

namespace attar::runtime {

void check(const GenerateOptions& options) {
  check(options.sampling);
  check_grammar(read_grammar(GrammarKind::Gbnf, options.grammar, "--grammar"),
                read_grammar(GrammarKind::JsonSchema, options.json_schema, "--json-schema"));
}

std::shared_ptr<TokenGrammar> grammar_of(const GenerateOptions& options, Grammars& grammars) {
  if (options.keeps_to != nullptr) return options.keeps_to;
  return grammars.of_either(read_grammar(GrammarKind::Gbnf, options.grammar, "--grammar"),
                            read_grammar(GrammarKind::JsonSchema, options.json_schema, "--json-schema"));
}

const char* name_of(StopReason reason) {
  static constexpr const char* kNames[] = {"end_of_text", "stop_string", "max_tokens", "context_full", "interrupted"};
  return kNames[static_cast<size_t>(reason)];
}

struct Continuation::State {
  const Model& model;
  KvCache& cache;
  Workspace& work;
  Writing writing;

  // Reads what is unread with some guesses behind it, and draws: one token, and as many more as guesses held.
  void draw(const Progress& progress) {
    const std::vector<int32_t> guessed = writing.guess(progress);
    std::vector<Row> rows;
    for (const int32_t token : writing.history().subspan(static_cast<size_t>(cache.length_tokens())))
      rows.push_back({&cache, token, false});
    rows.back().wants_logits = true;
    for (const int32_t token : guessed) rows.push_back({&cache, token, true});
    forward(model, rows, work, progress, Answers::Summed);
    const auto cut = [this] { cache.truncate(static_cast<int64_t>(writing.history().size()) - 1); };
    try {
      writing.draw(guessed, [this](int64_t i) { return work.summed(i); });
    } catch (...) {
      cut();  // the last token is read again
      throw;
    }
    cut();
  }
};

Continuation::Continuation(const Model& model, KvCache& cache, std::span<const int32_t> prompt, GenerateOptions options,
                           Workspace& work) {
  const auto held = static_cast<size_t>(cache.length_tokens());
  if (prompt.size() <= held)
    throw usage_error("the prompt", "has no token that is new to the cache", "more than " + std::to_string(held),
                      std::to_string(prompt.size()));
  state_.reset(new State{model, cache, work, Writing(model, prompt, std::move(options))});
}

Continuation::~Continuation() {
  if (state_) state_->cache.truncate(state_->writing.given_tokens());  // not what was drawn and never written
}

std::optional<std::string> Continuation::next(const Progress& progress) {
  const FloatEnvironment floats;
  if (state_->writing.wants_draw()) state_->draw(progress);
  return state_->writing.write();
}

bool Continuation::ended() const {
  return state_->writing.ended();
}

const Generated& Continuation::result() const {
  return state_->writing.result();
}

Generated generate(const Model& model, KvCache& cache, std::span<const int32_t> prompt, const GenerateOptions& options,
                   Workspace& work, const std::function<bool(std::string_view)>& on_text, const Progress& progress) {
  Continuation continuation(model, cache, prompt, options, work);
  bool stopped = false;
  while (const std::optional<std::string> text = continuation.next(progress)) {
    stopped = on_text && !on_text(*text) && !continuation.ended();
    if (stopped) break;
  }
  Generated out = continuation.result();
  if (stopped) out.reason = StopReason::Interrupted;
  return out;
}

}  // namespace attar::runtime
