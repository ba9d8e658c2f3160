// What the rows of a batch should predict, and how much of the loss a cached signal says nothing about.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "compress/token_dataset.h"
#include "distill/head_loss.h"

namespace attar {

// Where the losses that need a teacher have it from. Aligned: it runs beside the student, on its own tokens.
enum class SignalSource { None, Online, Cached, Aligned };

// Row i predicts token i + 1 of its piece; the last row of a piece predicts nothing. Every row of the loss is in one of
// the two masks. `unsignalled` are those whose cached signal names no token of the student: a text that a cut
// vocabulary spells anew was not read by the teacher as the student reads it.
struct Labels {
  at::Tensor next;         // (N) int64
  at::Tensor signalled;    // (N) bool: learn as the losses say
  at::Tensor unsignalled;  // (N) bool: learn from something else
  TopKSignal signal;       // (N, k), cached alone; k of a sample: what the longest row has
  at::Tensor states{};     // (N, Ct) f32: the teacher's, in place of `signal` where those are kept
  at::Tensor weights{};    // (N) f32: how much each counts; undefined: 1 each
  AlignedRows aligned{};   // aligned alone
};
// A signal that is asked for is in memory (SignalsOfBatch).
Labels labels_of(const TokenDataset& data, const std::vector<Piece>& pieces, SignalSource source);

// Tokens of the loss, and what a cached signal says about them.
struct LossTokens {
  int64_t count = 0;
  double weight = 0.0;        // sum of theirs: what a step divides by
  int64_t unsignalled = 0;    // of `count`
  int64_t weighed = 0;        // of `count`, those with a probability of the teacher, usable or not
  double dropped_mass = 0.0;  // sum over `weighed` of the teacher's mass on tokens that the student does not have

  LossTokens& operator+=(const LossTokens& other);
  double unsignalled_share() const {
    return count == 0 ? 0.0 : static_cast<double>(unsignalled) / static_cast<double>(count);
  }
  double mean_dropped_mass() const { return weighed == 0 ? 0.0 : dropped_mass / static_cast<double>(weighed); }
};
// Of a signal on disk no more than `count` and `weight` are right.
LossTokens loss_tokens(const TokenDataset& data, const std::vector<Piece>& pieces, SignalSource source);

}  // namespace attar
