// Tokens guessed ahead of a model, which then reads them all in one pass. Guesses change nothing but the time: every
// token is still drawn from the model's own logits, under the same key, and a guess is kept where it is what was drawn.
// Sources: Leviathan, Kalman, Matias, "Fast Inference from Transformers via Speculative Decoding" (2023), section 2,
// with an exact redraw in place of its rejection sampling; prompt lookup: Yang et al., "Inference with Reference:
// Lossless Acceleration of Large Language Models" (2023), section 3.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "runtime/base/progress.h"
#include "runtime/model/model.h"
#include "runtime/text/sampler.h"

namespace attar::runtime {

inline constexpr int64_t kMostGuesses = 64;  // that an option may ask for
inline constexpr int64_t kDraftGuesses = 8;  // most that a draft makes at once

// What became of the guesses of one text.
struct Speculation {
  int64_t passes = 0;  // of the model, for all its tokens
  int64_t guessed = 0, accepted = 0;
};

// The tokens behind the latest of the longest earlier occurrences of the text's end (at least two tokens, at most
// eight), at most `most`; none where there is no such occurrence.
std::vector<int32_t> looked_up(std::span<const int32_t> text, int64_t most);

// How many tokens to guess next: more after guesses that held, fewer after others.
class GuessLength {
 public:
  explicit GuessLength(int64_t most) : most_(most), next_(most < 4 ? most : 4) {}

  int64_t next() const { return next_; }
  void saw(int64_t guessed, int64_t accepted);

 private:
  int64_t most_, next_;
};

// What a draft has read of one text, as keys and values of its own.
struct DraftedText {
  std::optional<KvCache> cache{};  // none before the draft was first asked
  std::vector<int32_t> held{};     // tokens that the cache holds

  uint64_t size_bytes() const { return cache ? cache->size_bytes() : 0; }
};

// A text that a draft goes on with, and what becomes of it.
struct ToGuess {
  std::span<const int32_t> text;  // at least one token
  int64_t most = 0;               // tokens; 0: it is left alone
  const SampleOptions* sampling = nullptr;
  Draw key{};                              // of the model's own draws, but for their positions
  const GrammarCursor* grammar = nullptr;  // where the text is in it; nullptr: there is none
  DraftedText* read = nullptr;             // nullptr: the draft's own, of which it has one
  std::vector<int32_t> guesses{};          // -> what may come behind the text
};

// A smaller model with the same vocabulary, which goes on with texts by itself. Serves one call at a time.
class Draft {
 public:
  // Error{Usage}: `of` has other tokens. `threads` must outlive it.
  Draft(Model model, const Model& of, ThreadPool& threads);
  ~Draft();

  // Keys and values of a text of so many tokens, at most.
  uint64_t kv_bytes_of(int64_t length_tokens) const;

  // Guesses at most `most` tokens behind each text, drawn as the model's own will be; fewer where its context, or the
  // grammar, ends, or where its logits are no numbers. All texts go on in one pass for each token. Before that it reads
  // what it has not read of them, about `most_read` tokens in all: what is left of a long one waits for the next call,
  // and nothing is guessed behind it. When it throws it can be called again.
  void guess(std::span<ToGuess> texts, int64_t most_read, const Progress& progress = {});

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace attar::runtime
