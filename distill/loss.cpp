#include "distill/loss.h"

#include "distill/row_kernels.h"

namespace attar {
namespace {

std::vector<double> cross_entropy(const at::Tensor& logits, const RowTargets& targets, double, double scale,
                                  at::Tensor& gradient) {
  const int64_t rows = logits.size(0), vocab_size = logits.size(1);
  const auto* z = logits.const_data_ptr<float>();
  const auto* tokens = targets.tokens.const_data_ptr<int64_t>();
  auto* g = gradient.data_ptr<float>();
  std::vector<double> out(static_cast<size_t>(rows));
  for (int64_t r = 0; r < rows; ++r)
    out[static_cast<size_t>(r)] =
        cross_entropy_row(z + r * vocab_size, vocab_size, tokens[r], static_cast<float>(scale), g + r * vocab_size);
  return out;
}

std::vector<double> forward_kl(const at::Tensor& logits, const RowTargets& targets, double temperature, double scale,
                               at::Tensor& gradient) {
  const int64_t rows = logits.size(0), vocab_size = logits.size(1);
  const auto* z = logits.const_data_ptr<float>();
  auto* g = gradient.data_ptr<float>();
  std::vector<double> out(static_cast<size_t>(rows));
  if (targets.teacher_logits.defined()) {
    const auto* y = targets.teacher_logits.const_data_ptr<float>();
    for (int64_t r = 0; r < rows; ++r)
      out[static_cast<size_t>(r)] = forward_kl_row(z + r * vocab_size, y + r * vocab_size, vocab_size, temperature,
                                                   static_cast<float>(scale), g + r * vocab_size);
    return out;
  }
  const int64_t k = targets.top_ids.size(1);
  const auto* ids = targets.top_ids.const_data_ptr<int64_t>();
  const auto* log_probs = targets.top_log_probs.const_data_ptr<float>();
  for (int64_t r = 0; r < rows; ++r)
    out[static_cast<size_t>(r)] = forward_kl_top_k_row(z + r * vocab_size, vocab_size, ids + r * k, log_probs + r * k,
                                                       k, temperature, static_cast<float>(scale), g + r * vocab_size);
  return out;
}

constexpr LossEntry kLosses[] = {
    {"forward_kl", forward_kl, true, "KL(teacher || student): covers all the teacher says; the default"},
    {"cross_entropy", cross_entropy, false, "the data's own next token"},
};

}  // namespace

std::span<const LossEntry> losses() {
  return kLosses;
}

const LossEntry* find_loss(const std::string& name) {
  for (const LossEntry& loss : kLosses)
    if (name == loss.name) return &loss;
  return nullptr;
}

}  // namespace attar
