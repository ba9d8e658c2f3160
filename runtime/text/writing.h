// One text while it is written: the tokens so far, the next one drawn from logits, and what of them is certain as text.
// It reads nothing itself: `Continuation` does for one text, `BatchEngine` for many, and so both write the same.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "runtime/text/generate.h"

namespace attar::runtime {

// Holds back what may yet turn out to be the start of a stop string or half a character.
class TextStream {
 public:
  // Adds bytes; returns true when one of `stop` is complete. `ready` gets what is certain now.
  bool add(const std::vector<std::string>& stop, std::string_view bytes, std::string& ready);
  const std::string& pending() const { return pending_; }

 private:
  std::string pending_;
};

class Writing {
 public:
  // `sequence` keys its draws beside the seed. Error: an option or a token that cannot be.
  Writing(const Model& model, std::span<const int32_t> prompt, GenerateOptions options, uint64_t sequence = 0);

  Writing(const Writing&) = delete;
  Writing& operator=(const Writing&) = delete;

  // Prompt and what was drawn; the model has read all but the end of it.
  std::span<const int32_t> history() const { return history_; }
  int64_t prompt_tokens() const { return prompt_tokens_; }
  int64_t given_tokens() const { return given_; }  // of the history: prompt and what was written
  const GenerateOptions& options() const { return options_; }
  const Generated& result() const { return out_; }
  bool ended() const { return ended_; }
  // Nothing that was drawn is left to write.
  bool wants_draw() const { return !ended_ && !long_enough_ && all_written() && !must_end(); }

  // Tokens that may come next, no more than there is room for: looked up in the text so far, or else by its draft,
  // which in a batch is asked for many texts at once. draw() gets the guesses of whoever was asked last.
  std::vector<int32_t> look_up();
  ToGuess to_guess();                                    // valid until the text goes on
  std::vector<int32_t> guess(const Progress& progress);  // both, of this text alone
  // Draws one token, and as many more as guesses hold; logits(i) is what stands behind the history and the first i
  // guesses. For whatever it throws nothing was drawn.
  void draw(std::span<const int32_t> guessed, const std::function<SummedLogits(int64_t i)>& logits);
  // Takes back what was drawn since the history was so long, which must not have been written.
  void forget(int64_t history_tokens) noexcept;
  // Writes the next drawn token; at the end once more what was held back. -> whole UTF-8 characters, or nullopt behind
  // the end. When it throws, for want of memory, it was not called.
  std::optional<std::string> write();
  void end(StopReason reason);  // here

 private:
  bool all_written() const { return given_ == static_cast<int64_t>(history_.size()); }
  int64_t room_for_guesses() const;
  bool must_end() const { return cursor_ != nullptr && cursor_->must_end(); }  // the grammar lets nothing more come
  std::vector<int32_t> allowed(std::vector<int32_t> guesses) const;
  SummedLogits changed(const SummedLogits& logits);
  std::string show(const std::string& bytes);
  std::string finish(StopReason reason, const std::string& bytes);

  const Model& model_;
  GenerateOptions options_;
  uint64_t sequence_;
  int64_t prompt_tokens_, given_;
  std::vector<int32_t> history_;
  TextStream stream_{};
  GuessLength looking_, drafting_;
  GuessLength* guessing_ = &looking_;  // who made the last guesses
  Generated out_{{}, {}, StopReason::MaxTokens};
  // Where the grammar is behind all that was drawn, and where it was before the last draw; nullptr: there is none.
  std::unique_ptr<GrammarCursor> cursor_{}, before_{};
  std::vector<float> changed_{};  // (V) logits that on_logits may change
  bool long_enough_ = false, ended_ = false;
};

}  // namespace attar::runtime
