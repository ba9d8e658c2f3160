// The head and the losses together, a chunk of rows at a time, so that logits of all N tokens never exist: the gradient
// takes the logits' place as soon as the loss is known, and backward only scales. The scratch is that of one chunk, at
// any number of tokens and threads.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "compress/precision.h"
#include "compress/shards.h"
#include "distill/alignment/aligned_rows.h"
#include "distill/losses/loss_term.h"
#include "distill/pass/device.h"

namespace attar {

struct DenseSignal {
  at::Tensor hidden;  // (N, Ct) teacher's final hidden states
  at::Tensor head;    // (V, Ct), rows already those of the student's vocabulary
};
struct TopKSignal {
  at::Tensor ids;          // (N, k) int64, student's ids, -1 unused
  at::Tensor log_probs;    // (N, k) f32
  at::Tensor entropies{};  // (N) f32 where the entries are a sample (TopKRow::entropy)
};
// Of a teacher that reads the text in tokens of its own (alignment/).
struct AlignedSignal {
  ChunkLosses chunks{};   // undefined: aligned_likelihood is not asked for
  DenseSignal teacher{};  // its states where both predict from the same place, and its head; undefined: uld is not
  at::Tensor known{};     // (N) bool: where they do
};
using TeacherSignal = std::variant<std::monostate, DenseSignal, TopKSignal, AlignedSignal>;

inline constexpr int64_t kHeadLossBytes = int64_t{1} << 28;

struct HeadLossOptions {
  std::vector<LossTerm> losses;
  int64_t chunk_rows = 0;                 // 0: what logits of both models fill kHeadLossBytes with, at most 1024
  Precision precision = Precision::Fp32;  // of the products; losses and their gradients by the logits are f32
  at::Tensor weights{};                   // (N) f32: how much each row counts; undefined: 1 each
  PassDevice device{};                    // where LibTorch makes the products; none: the team makes them
};

struct HeadLossResult {
  double loss = 0;                     // sum over losses and rows by their weights, divided by `denominator`
  int64_t rows = 0;                    // in the loss
  int64_t asked = 0, agreeing = 0;     // of them: with a teacher's likeliest token; where it is the student's too
  std::map<std::string, double> sums;  // each loss, summed over those rows, unweighted
  at::Tensor hidden_gradient;          // (N, C)
};

// What a call takes and the next takes again: logits of one chunk, in host memory.
struct HeadLossMemory {
  at::Tensor logits, teacher_logits;  // (R', V); the teacher's may be of another vocabulary
};

// hidden (N, C) student's final hidden states; rows of `in_loss` (N) bool that are false are skipped. Heads (V, C), f32
// or in the products' kind already. Adds the head's gradient into head_gradient (V, C) f32 when it is defined. With
// `device` these and the gradient by hidden states lie there; a teacher's states may lie anywhere, and all that says
// what rows should predict lies in host memory, where their logits go for the losses and their gradient comes from.
HeadLossResult head_loss(const at::Tensor& hidden, const at::Tensor& head, const at::Tensor& next_tokens,
                         const at::Tensor& in_loss, const TeacherSignal& signal, const HeadLossOptions& options,
                         double denominator, at::Tensor& head_gradient, Team& team, HeadLossMemory& memory);

// visit(row, its logits (V) f32) for the rows of `in_loss` (N) bool that are true, a chunk after the other; those of a
// chunk come in any order, from the team's threads.
using VisitLogits = std::function<void(int64_t row, std::span<const float> logits)>;
void for_each_logits_row(const at::Tensor& hidden, const at::Tensor& head, const at::Tensor& in_loss,
                         const HeadLossOptions& options, Team& team, HeadLossMemory& memory, const VisitLogits& visit);

// How unsure the student is of the next token: the entropy of its own distribution (temperature 1), in nats, (N) f32;
// 0 in rows of `in_loss` (N) bool that are false.
at::Tensor student_entropies(const at::Tensor& hidden, const at::Tensor& head, const at::Tensor& in_loss,
                             const HeadLossOptions& options, Team& team, HeadLossMemory& memory);

// Log-probability of the next token in each row (N) f64; 0 in rows of `in_loss` (N) bool that are false.
at::Tensor next_log_probs(const at::Tensor& hidden, const at::Tensor& head, const at::Tensor& next_tokens,
                          const at::Tensor& in_loss, const HeadLossOptions& options, Team& team,
                          HeadLossMemory& memory);

}  // namespace attar
