// The head and the losses together, a chunk of rows at a time, so that logits of all N tokens never exist
// (gradient computed in the forward pass; backward only scales).
#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <string>
#include <variant>
#include <vector>

#include "compress/precision.h"
#include "distill/loss.h"

namespace attar {

struct DenseSignal {
  at::Tensor hidden;  // (N, Ct) teacher's final hidden states
  at::Tensor head;    // (V, Ct), rows already those of the student's vocabulary
};
struct TopKSignal {
  at::Tensor ids;        // (N, k) int64, student's ids, -1 unused
  at::Tensor log_probs;  // (N, k) f32
};
using TeacherSignal = std::variant<std::monostate, DenseSignal, TopKSignal>;

struct HeadLossOptions {
  std::map<std::string, double> losses{{"forward_kl", 1.0}};  // name -> weight
  double temperature = 1.0;
  int64_t chunk_rows = 256;
  Precision precision = Precision::Fp32;  // of the products; losses and their gradients by the logits are f32
};

struct HeadLossResult {
  double loss = 0;                     // weighted sum over losses and rows, divided by `denominator`
  int64_t rows = 0;                    // in the loss
  std::map<std::string, double> sums;  // each loss, summed over those rows, unweighted
  at::Tensor hidden_gradient;          // (N, C)
};

// hidden (N, C) student's final hidden states; rows of `in_loss` (N) bool that are false are skipped. head (V, C).
// Adds the head's gradient into head_gradient (V, C) when it is defined.
HeadLossResult head_loss(const at::Tensor& hidden, const at::Tensor& head, const at::Tensor& next_tokens,
                         const at::Tensor& in_loss, const TeacherSignal& signal, const HeadLossOptions& options,
                         double denominator, at::Tensor& head_gradient);

}  // namespace attar
