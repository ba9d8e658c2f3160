#include "distill/head_loss.h"

#include <ATen/ops/index_select.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/nonzero.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <cassert>

namespace attar {
namespace {

RowTargets targets_of(const at::Tensor& rows, const at::Tensor& next_tokens, const TeacherSignal& signal) {
  RowTargets targets;
  targets.tokens = next_tokens.index_select(0, rows);
  if (const auto* dense = std::get_if<DenseSignal>(&signal))
    targets.teacher_logits = at::mm(dense->hidden.index_select(0, rows), dense->head.t());
  if (const auto* top = std::get_if<TopKSignal>(&signal)) {
    targets.top_ids = top->ids.index_select(0, rows);
    targets.top_log_probs = top->log_probs.index_select(0, rows);
  }
  return targets;
}

}  // namespace

HeadLossResult head_loss(const at::Tensor& hidden, const at::Tensor& head, const at::Tensor& next_tokens,
                         const at::Tensor& in_loss, const TeacherSignal& signal, const HeadLossOptions& options,
                         double denominator, at::Tensor& head_gradient) {
  const c10::NoGradGuard no_grad;  // gradients are made here, by hand
  HeadLossResult result;
  result.hidden_gradient = at::zeros_like(hidden);
  const at::Tensor wanted = in_loss.nonzero().squeeze(1);  // masked rows are left out before anything is multiplied
  const int64_t n = wanted.size(0);
  result.rows = n;
  for (const auto& [name, weight] : options.losses) result.sums[name] = 0.0;
  for (int64_t begin = 0; begin < n; begin += options.chunk_rows) {
    const at::Tensor rows = wanted.narrow(0, begin, std::min(options.chunk_rows, n - begin));  // (R)
    const at::Tensor x = hidden.index_select(0, rows);                                         // (R, C)
    const at::Tensor logits = at::mm(x, head.t());                                             // (R, V)
    at::Tensor gradient = at::zeros_like(logits);
    const RowTargets targets = targets_of(rows, next_tokens, signal);
    for (const auto& [name, weight] : options.losses) {
      if (weight == 0.0) continue;
      const LossEntry* loss = find_loss(name);
      assert(loss != nullptr);
      double sum = 0.0;
      for (const double row : loss->rows(logits, targets, options.temperature, weight / denominator, gradient))
        sum += row;
      result.sums[name] += sum;
      result.loss += weight * sum / denominator;
    }
    result.hidden_gradient.index_copy_(0, rows, at::mm(gradient, head));
    if (head_gradient.defined()) head_gradient.addmm_(gradient.t(), x);
  }
  return result;
}

}  // namespace attar
