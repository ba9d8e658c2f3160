#include "distill/head_loss.h"

#include <ATen/ops/index_select.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/nonzero.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <cassert>
#include <optional>

namespace attar {
namespace {

// The head's products, in one precision; what they give is f32.
class Head {
 public:
  Head(const at::Tensor& weights, Precision precision)
      : kind_(precision == Precision::Bf16 ? at::kBFloat16 : at::kFloat), weights_(weights.to(kind_)) {}

  at::Tensor logits(const at::Tensor& x) const { return at::mm(x.to(kind_), weights_.t()).to(at::kFloat); }
  at::Tensor hidden_gradient(const at::Tensor& by_logits) const {
    return at::mm(by_logits.to(kind_), weights_).to(at::kFloat);
  }
  void add_gradient(const at::Tensor& by_logits, const at::Tensor& x, at::Tensor& sum) const {
    if (kind_ == at::kFloat)
      sum.addmm_(by_logits.t(), x);
    else
      sum.add_(at::mm(by_logits.to(kind_).t(), x.to(kind_)));
  }

 private:
  at::ScalarType kind_;
  at::Tensor weights_;  // (V, C)
};

RowTargets targets_of(const at::Tensor& rows, const at::Tensor& next_tokens, const TeacherSignal& signal,
                      const std::optional<Head>& teacher_head) {
  RowTargets targets;
  targets.tokens = next_tokens.index_select(0, rows);
  if (const auto* dense = std::get_if<DenseSignal>(&signal))
    targets.teacher_logits = teacher_head->logits(dense->hidden.index_select(0, rows));
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
  const Head own(head, options.precision);
  std::optional<Head> teachers;
  if (const auto* dense = std::get_if<DenseSignal>(&signal)) teachers.emplace(dense->head, options.precision);
  for (int64_t begin = 0; begin < n; begin += options.chunk_rows) {
    const at::Tensor rows = wanted.narrow(0, begin, std::min(options.chunk_rows, n - begin));  // (R)
    const at::Tensor x = hidden.index_select(0, rows);                                         // (R, C)
    const at::Tensor logits = own.logits(x);                                                   // (R, V)
    at::Tensor gradient = at::zeros_like(logits);
    const RowTargets targets = targets_of(rows, next_tokens, signal, teachers);
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
    result.hidden_gradient.index_copy_(0, rows, own.hidden_gradient(gradient));
    if (head_gradient.defined()) own.add_gradient(gradient, x, head_gradient);
  }
  return result;
}

}  // namespace attar
