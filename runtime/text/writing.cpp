#include "runtime/text/writing.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "runtime/base/error.h"
#include "runtime/formats/tokenizer/unicode.h"
#include "runtime/judge/score.h"

namespace attar::runtime {
namespace {

// Length of the longest end of what is pending that begins `stop`.
size_t overlap(const std::string& pending, const std::string& stop) {
  for (size_t n = std::min(stop.size() - (stop.empty() ? 0 : 1), pending.size()); n > 0; --n)
    if (pending.compare(pending.size() - n, n, stop, 0, n) == 0) return n;
  return 0;
}

void check_lengths(const GenerateOptions& options) {
  if (options.max_tokens < 0)
    throw usage_error("max_tokens", "is negative", "at least 0", std::to_string(options.max_tokens));
  if (options.lookup < 0 || options.lookup > kMostGuesses)
    throw usage_error("lookup", "is out of range", "0 to " + std::to_string(kMostGuesses),
                      std::to_string(options.lookup));
}

// The token of an id in digits, or of its bytes or, a control token's, its name.
int32_t token_named(const std::string& name, const Tokenizer& tokenizer) {
  const auto n = static_cast<int32_t>(tokenizer.vocab_size());
  if (!name.empty() && name.find_first_not_of("0123456789") == std::string::npos) {
    if (name.size() < 10 && std::stoll(name) < n) return static_cast<int32_t>(std::stoll(name));
    throw usage_error("--logit-bias", "names a token outside the vocabulary", "below " + std::to_string(n),
                      printable(name));
  }
  for (int32_t id = 0; id < n; ++id)
    if (tokenizer.is_control(id) ? tokenizer.data().tokens[static_cast<size_t>(id)].text == name
                                 : tokenizer.token_bytes(id) == name)
      return id;
  std::string ids;
  for (const int32_t id : tokenizer.encode(name, {.add_special = false})) ids += " " + std::to_string(id);
  throw usage_error("--logit-bias", "\"" + printable(name) + "\" is not one token", "a token's id, or its text",
                    "tokens" + ids);
}

void add_biases(GenerateOptions& options, const Tokenizer& tokenizer) {
  for (const auto& [name, bias] : options.logit_bias)
    options.sampling.bias.push_back({token_named(name, tokenizer), static_cast<float>(bias)});
  check(options.sampling);
}

}  // namespace

bool TextStream::add(const std::vector<std::string>& stop, std::string_view bytes, std::string& ready) {
  pending_ += bytes;
  size_t cut = std::string::npos;
  for (const std::string& text : stop)
    if (!text.empty()) cut = std::min(cut, pending_.find(text));
  if (cut != std::string::npos) {
    ready = pending_.substr(0, cut);
    pending_.clear();
    return true;
  }
  size_t safe = complete_utf8_prefix(pending_);
  for (const std::string& text : stop) safe = std::min(safe, pending_.size() - overlap(pending_, text));
  ready = pending_.substr(0, safe);
  pending_.erase(0, safe);
  return false;
}

Writing::Writing(const Model& model, std::span<const int32_t> prompt, GenerateOptions options, uint64_t sequence)
    : model_(model),
      options_(std::move(options)),
      sequence_(sequence),
      prompt_tokens_(static_cast<int64_t>(prompt.size())),
      given_(prompt_tokens_),
      looking_(options_.lookup),
      drafting_(options_.draft != nullptr ? kDraftGuesses : 0) {
  check_lengths(options_);
  check_tokens(model, prompt);
  Grammars grammars(model.tokenizer());
  options_.keeps_to = grammar_of(options_, grammars);
  add_biases(options_, model.tokenizer());
  if (options_.keeps_to != nullptr) cursor_ = std::make_unique<GrammarCursor>(options_.keeps_to);
  // All that it may become, so that no draw and no token fails for want of memory.
  const int64_t room = std::max<int64_t>(0, model.config().context_length - prompt_tokens_) + 1;
  const int64_t most = std::min(options_.max_tokens, room);
  history_.reserve(prompt.size() + static_cast<size_t>(most + kMostGuesses + 1));
  history_.assign(prompt.begin(), prompt.end());
  out_.tokens.reserve(static_cast<size_t>(most));
  ended_ = options_.max_tokens == 0;
}

int64_t Writing::room_for_guesses() const {
  return std::min(model_.config().context_length - static_cast<int64_t>(history_.size()),
                  options_.max_tokens - static_cast<int64_t>(out_.tokens.size()) - 1);
}

std::vector<int32_t> Writing::look_up() {
  guessing_ = &looking_;
  return allowed(looked_up(history_, std::min(looking_.next(), room_for_guesses())));
}

ToGuess Writing::to_guess() {
  guessing_ = &drafting_;
  return {.text = history_,
          .most = std::min(drafting_.next(), room_for_guesses()),
          .sampling = &options_.sampling,
          .key = {options_.seed, sequence_, 0},
          .grammar = cursor_.get()};
}

std::vector<int32_t> Writing::guess(const Progress& progress) {
  std::vector<int32_t> found = look_up();
  if (!found.empty() || options_.draft == nullptr) return found;
  ToGuess asked = to_guess();
  options_.draft->guess({&asked, 1}, std::numeric_limits<int64_t>::max(), progress);
  return std::move(asked.guesses);
}

// As many of the guesses as the grammar lets come.
std::vector<int32_t> Writing::allowed(std::vector<int32_t> guesses) const {
  if (cursor_ == nullptr) return guesses;
  GrammarCursor ahead(*cursor_);
  size_t n = 0;
  try {
    for (; n < guesses.size() && ahead.allows(guesses[n]); ++n) ahead.advance(guesses[n]);
  } catch (const Error&) {  // too much to read, at a place that the text may never come to
  }
  guesses.resize(n);
  return guesses;
}

void Writing::forget(int64_t history_tokens) noexcept {
  if (history_tokens < static_cast<int64_t>(history_.size()) && before_ != nullptr) cursor_ = std::move(before_);
  history_.resize(static_cast<size_t>(history_tokens));
}

SummedLogits Writing::changed(const SummedLogits& logits) {
  if (!options_.on_logits) return logits;
  changed_.assign(logits.values.begin(), logits.values.end());
  if (options_.on_logits(changed_) == Flow::Stop)
    throw Error(ErrorKind::Interrupted, {.where = "generate", .what = "interrupted"});
  return {changed_, log_sum_exp(changed_)};
}

void Writing::draw(std::span<const int32_t> guessed, const std::function<SummedLogits(int64_t i)>& logits) {
  const auto before = static_cast<int64_t>(history_.size());
  int64_t accepted = 0;
  if (cursor_ != nullptr) before_ = std::make_unique<GrammarCursor>(*cursor_);
  try {
    for (size_t i = 0; i <= guessed.size(); ++i) {
      const SummedLogits row = finite_logits(model_, changed(logits(static_cast<int64_t>(i))));
      const Draw key{options_.seed, sequence_, history_.size()};
      const int32_t token = sample(row, history_, options_.sampling, key, cursor_.get()).token;
      history_.push_back(token);
      if (cursor_ != nullptr) cursor_->advance(token);
      if (i == guessed.size() || token != guessed[i] || model_.tokenizer().ends_generation(token)) break;
      ++accepted;
      if (must_end()) break;
    }
  } catch (...) {
    forget(before);
    throw;
  }
  guessing_->saw(static_cast<int64_t>(guessed.size()), accepted);
  ++out_.speculation.passes;
  out_.speculation.guessed += static_cast<int64_t>(guessed.size());
  out_.speculation.accepted += accepted;
}

// What may fail comes first.
std::string Writing::show(const std::string& bytes) {
  std::string text = replace_invalid_utf8(bytes);
  out_.text.reserve(out_.text.size() + text.size());
  out_.text += text;
  return text;
}

std::string Writing::finish(StopReason reason, const std::string& bytes) {
  std::string text = show(bytes);
  end(reason);
  return text;
}

void Writing::end(StopReason reason) {
  out_.reason = reason;
  ended_ = true;
}

std::optional<std::string> Writing::write() {
  if (ended_) return std::nullopt;
  if (all_written() && must_end()) return finish(StopReason::EndOfText, stream_.pending());
  if (long_enough_) return finish(out_.reason, stream_.pending());
  const Tokenizer& tokenizer = model_.tokenizer();
  const int32_t token = history_[static_cast<size_t>(given_)];
  if (tokenizer.ends_generation(token)) return finish(StopReason::EndOfText, stream_.pending());
  TextStream next = stream_;
  std::string ready;
  const bool stops =
      next.add(options_.stop, tokenizer.is_control(token) ? std::string_view() : tokenizer.token_bytes(token), ready);
  std::string text = show(ready);
  std::swap(stream_, next);
  out_.tokens.push_back(token);
  const int64_t read = given_++;  // by the model, for this token
  if (stops) {
    end(StopReason::StopString);
    return text;
  }
  const bool full = read >= model_.config().context_length;
  const bool enough = static_cast<int64_t>(out_.tokens.size()) >= options_.max_tokens;
  long_enough_ = full || enough;
  if (full && !enough) out_.reason = StopReason::ContextFull;
  return text;
}

}  // namespace attar::runtime
