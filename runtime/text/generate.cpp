#include "runtime/text/generate.h"

#include <algorithm>
#include <cmath>
#include <list>
#include <map>
#include <utility>

#include "runtime/base/error.h"
#include "runtime/base/host/float_environment.h"
#include "runtime/formats/tokenizer/unicode.h"
#include "runtime/kernels/vocabulary_math.h"

namespace attar::runtime {
namespace {

// Holds back what may yet turn out to be the start of a stop string or half a character.
class TextStream {
 public:
  explicit TextStream(const std::vector<std::string>& stop) : stop_(stop) {}

  // Adds bytes; returns true when a stop string is complete. `ready` gets what is certain now.
  bool add(const std::string& bytes, std::string& ready) {
    pending_ += bytes;
    size_t cut = std::string::npos;
    for (const std::string& stop : stop_)
      if (!stop.empty()) cut = std::min(cut, pending_.find(stop));
    if (cut != std::string::npos) {
      ready = pending_.substr(0, cut);
      pending_.clear();
      return true;
    }
    size_t safe = complete_utf8_prefix(pending_);
    for (const std::string& stop : stop_) safe = std::min(safe, pending_.size() - overlap(stop));
    ready = pending_.substr(0, safe);
    pending_.erase(0, safe);
    return false;
  }
  std::string rest() { return std::exchange(pending_, {}); }

 private:
  // Length of the longest end of what is pending that begins `stop`.
  size_t overlap(const std::string& stop) const {
    for (size_t n = std::min(stop.size() - (stop.empty() ? 0 : 1), pending_.size()); n > 0; --n)
      if (pending_.compare(pending_.size() - n, n, stop, 0, n) == 0) return n;
    return 0;
  }

  const std::vector<std::string>& stop_;
  std::string pending_;
};

// One sequence of a batch while it is being written.
struct Writer {
  size_t index;
  uint64_t id;
  KvCache cache;
  std::vector<int32_t> history;  // prompt and what was written
  BatchResult result{};
  bool done = false;
};

void check(const BatchOptions& options) {
  const auto need_positive = [](int64_t value, const char* name) {
    if (value < 1) throw usage_error(name, "must be positive", "at least 1", std::to_string(value));
  };
  need_positive(options.max_tokens, "max_tokens");
  need_positive(options.batch_size, "batch_size");
}

// Draws the writer's next token from the logits after its last one.
void write_token(const Model& model, std::span<const float> logits, const BatchOptions& options, Writer& writer) {
  const Draw draw{options.seed, writer.id, writer.history.size()};
  const double lse = finite_log_sum_exp(model, logits);
  const int32_t token = sample(logits, lse, writer.history, options.sampling, draw).token;
  const bool ends = model.tokenizer().ends_generation(token);
  writer.result.tokens.push_back(token);
  if (options.top_k_signals > 0) writer.result.signals.push_back(top_k_of(logits, options.top_k_signals));
  writer.history.push_back(token);
  const bool full = writer.cache.length_tokens() >= model.config().context_length;
  const bool long_enough = static_cast<int64_t>(writer.result.tokens.size()) >= options.max_tokens;
  writer.done = ends || full || long_enough;
  writer.result.reason = ends ? StopReason::EndOfText : full ? StopReason::ContextFull : StopReason::MaxTokens;
}

}  // namespace

const char* name_of(StopReason reason) {
  static constexpr const char* kNames[] = {"end_of_text", "stop_string", "max_tokens", "context_full", "interrupted"};
  return kNames[static_cast<size_t>(reason)];
}

struct Continuation::State {
  const Model& model;
  KvCache& cache;
  Workspace& work;
  GenerateOptions options;
  const size_t prompt_tokens;
  std::vector<int32_t> history;  // prompt and what was drawn
  std::vector<int32_t> unread;   // the end of the history, which the model has not seen
  size_t given = 0;              // of the history: prompt and what was written
  TextStream stream{options.stop};
  GuessLength looking{options.lookup}, drafting{options.draft != nullptr ? kDraftGuesses : 0};
  GuessLength* guessing = &looking;  // who made the last guesses
  Generated out{{}, {}, StopReason::MaxTokens};
  std::vector<float> changed{};  // (V) logits that on_logits may change
  bool long_enough = false, ended = false;

  // Tokens that may come next, no more than there is room for.
  std::vector<int32_t> guess(const Progress& progress) {
    const int64_t room = std::min(model.config().context_length - static_cast<int64_t>(history.size()),
                                  options.max_tokens - static_cast<int64_t>(out.tokens.size()) - 1);
    guessing = &looking;
    std::vector<int32_t> found = looked_up(history, std::min(looking.next(), room));
    if (!found.empty() || options.draft == nullptr) return found;
    guessing = &drafting;
    return options.draft->guess(history, std::min(drafting.next(), room), options.sampling, options.seed, progress);
  }

  std::span<const float> logits_of(int64_t row) {
    const std::span<const float> logits = work.logits(row);
    if (!options.on_logits) return logits;
    changed.assign(logits.begin(), logits.end());
    if (options.on_logits(changed) == Flow::Stop)
      throw Error(ErrorKind::Interrupted, {.where = "generate", .what = "interrupted"});
    return changed;
  }

  // Reads what is unread with some guesses behind it, and draws: one token, and as many more as guesses held.
  void draw(const Progress& progress) {
    const std::vector<int32_t> guessed = guess(progress);
    std::vector<Row> rows;
    for (const int32_t token : unread) rows.push_back({&cache, token, false});
    rows.back().wants_logits = true;
    for (const int32_t token : guessed) rows.push_back({&cache, token, true});
    forward(model, rows, work, progress);
    int64_t accepted = 0;
    for (size_t row = 0; row <= guessed.size(); ++row) {
      const std::span<const float> logits = logits_of(static_cast<int64_t>(row));
      const double lse = finite_log_sum_exp(model, logits);
      const int32_t token = sample(logits, lse, history, options.sampling, {options.seed, 0, history.size()}).token;
      history.push_back(token);
      if (row == guessed.size() || token != guessed[row] || model.tokenizer().ends_generation(token)) break;
      ++accepted;
    }
    unread.assign(1, history.back());
    cache.truncate(static_cast<int64_t>(history.size()) - 1);
    guessing->saw(static_cast<int64_t>(guessed.size()), accepted);
    ++out.speculation.passes;
    out.speculation.guessed += static_cast<int64_t>(guessed.size());
    out.speculation.accepted += accepted;
  }
  std::string show(const std::string& bytes) {
    std::string text = replace_invalid_utf8(bytes);
    out.text += text;
    return text;
  }
  std::string end(StopReason reason, const std::string& bytes) {
    out.reason = reason;
    ended = true;
    return show(bytes);
  }
};

Continuation::Continuation(const Model& model, KvCache& cache, std::span<const int32_t> prompt, GenerateOptions options,
                           Workspace& work) {
  check_tokens(model, prompt);
  const auto held = static_cast<size_t>(cache.length_tokens());
  if (prompt.size() <= held)
    throw usage_error("the prompt", "has no token that is new to the cache", "more than " + std::to_string(held),
                      std::to_string(prompt.size()));
  if (options.max_tokens < 0)
    throw usage_error("max_tokens", "is negative", "at least 0", std::to_string(options.max_tokens));
  if (options.lookup < 0 || options.lookup > kMostGuesses)
    throw usage_error("lookup", "is out of range", "0 to " + std::to_string(kMostGuesses),
                      std::to_string(options.lookup));
  state_.reset(new State{model,
                         cache,
                         work,
                         std::move(options),
                         prompt.size(),
                         {prompt.begin(), prompt.end()},
                         {prompt.begin() + static_cast<std::ptrdiff_t>(held), prompt.end()},
                         prompt.size()});
  state_->ended = state_->options.max_tokens == 0;
}

Continuation::~Continuation() {
  if (state_) state_->cache.truncate(static_cast<int64_t>(state_->given));  // not what was drawn and never written
}

std::optional<std::string> Continuation::next(const Progress& progress) {
  State& s = *state_;
  if (s.ended) return std::nullopt;
  if (s.long_enough) return s.end(s.out.reason, s.stream.rest());
  const FloatEnvironment floats;
  if (s.given == s.history.size()) s.draw(progress);
  const Tokenizer& tokenizer = s.model.tokenizer();
  const int32_t token = s.history[s.given];
  if (tokenizer.ends_generation(token)) return s.end(StopReason::EndOfText, s.stream.rest());
  s.out.tokens.push_back(token);
  const auto read = static_cast<int64_t>(s.given++);  // by the model, for this token
  std::string ready;
  if (s.stream.add(tokenizer.is_control(token) ? std::string() : tokenizer.token_bytes(token), ready))
    return s.end(StopReason::StopString, ready);
  const bool full = read >= s.model.config().context_length;
  const bool enough = static_cast<int64_t>(s.out.tokens.size()) >= s.options.max_tokens;
  s.long_enough = full || enough;
  if (full && !enough) s.out.reason = StopReason::ContextFull;
  return s.show(ready);
}

bool Continuation::ended() const {
  return state_->ended;
}

const Generated& Continuation::result() const {
  return state_->out;
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

void generate_batch(const Model& model, const BatchSource& source, const BatchOptions& options, Workspace& work,
                    const std::function<Flow(BatchResult result)>& on_result, const Progress& progress) {
  const FloatEnvironment floats;
  check(options);
  std::list<Writer> active;
  std::map<size_t, BatchResult> finished;  // waiting for earlier ones
  size_t begun = 0, delivered = 0;
  bool more = true;
  std::vector<Row> rows;
  std::vector<Writer*> asked;
  Event texts{.stage = "generate", .unit = "texts"};
  const Progress between_passes = inside(progress, texts);
  while (true) {
    // New sequences bring their prompts into the same pass as the others' next tokens: results do not depend on it.
    rows.clear();
    asked.clear();
    for (Writer& writer : active) {
      rows.push_back({&writer.cache, writer.history.back(), true});
      asked.push_back(&writer);
    }
    while (more && static_cast<int64_t>(active.size()) < options.batch_size) {
      std::optional<BatchSequence> sequence = source();
      more = sequence.has_value();
      if (!more) break;
      if (sequence->prompt.empty())
        throw usage_error("sequence " + std::to_string(sequence->id), "has an empty prompt",
                          "at least one token, such as BOS");
      Writer& writer = active.emplace_back(Writer{begun++, sequence->id, KvCache(model), sequence->prompt});
      writer.result.prompt = std::move(sequence->prompt);
      for (size_t i = 0; i < writer.history.size(); ++i)
        rows.push_back({&writer.cache, writer.history[i], i + 1 == writer.history.size()});
      asked.push_back(&writer);
    }
    if (active.empty()) return;
    forward(model, rows, work, between_passes);
    work.threads().run([&](int thread) {
      for (size_t i = static_cast<size_t>(thread); i < asked.size(); i += static_cast<size_t>(work.threads().size()))
        write_token(model, work.logits(static_cast<int64_t>(i)), options, *asked[i]);
    });
    for (auto writer = active.begin(); writer != active.end();) {
      if (writer->done) {
        finished[writer->index] = std::move(writer->result);
        writer = active.erase(writer);
      } else {
        ++writer;
      }
    }
    for (auto first = finished.find(delivered); first != finished.end(); first = finished.find(delivered)) {
      const Flow flow = on_result(std::move(first->second));
      finished.erase(first);
      ++delivered;
      if (flow == Flow::Stop) return;
    }
    texts.done = static_cast<int64_t>(delivered);
    report(progress, texts);
  }
}

}  // namespace attar::runtime
