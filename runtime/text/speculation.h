// Tokens guessed ahead of a model, which then reads them all in one pass. Guesses change nothing but the time: every
// token is still drawn from the model's own logits, under the same key, and a guess is kept where it is what was drawn.
// Sources: Leviathan, Kalman, Matias, "Fast Inference from Transformers via Speculative Decoding" (2023), section 2,
// with an exact redraw in place of its rejection sampling; prompt lookup: Yang et al., "Inference with Reference:
// Lossless Acceleration of Large Language Models" (2023), section 3.
#pragma once

#include <cstdint>
#include <memory>
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

// A smaller model with the same vocabulary, which goes on with the text by itself. Serves one text at a time.
class Draft {
 public:
  // Error{Usage}: `of` has other tokens. `threads` must outlive it.
  Draft(Model model, const Model& of, ThreadPool& threads);
  ~Draft();

  // At most `most` tokens behind `text`, drawn as the model's own tokens will be; fewer where its context, or the
  // grammar, ends. `grammar`: where the text is in it, or nullptr.
  std::vector<int32_t> guess(std::span<const int32_t> text, int64_t most, const SampleOptions& sampling, uint64_t seed,
                             const GrammarCursor* grammar = nullptr, const Progress& progress = {});

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace attar::runtime
