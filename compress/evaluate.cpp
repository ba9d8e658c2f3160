#include "compress/evaluate.h"

#include <ATen/ops/linear.h>
#include <ATen/ops/log_softmax.h>
#include <c10/core/GradMode.h>

#include <cmath>

#include "compress/shards.h"

namespace attar {
namespace {

constexpr int64_t kBatchTokens = 1024;

// Sum of the losses of one batch and how many tokens they are of.
Evaluation evaluate_batch(const CausalLM& model, const TokenDataset& dataset, const std::vector<Piece>& pieces) {
  const TokenBatch batch = to_batch(dataset, pieces);
  const at::Tensor log_probs = at::log_softmax(at::linear(forward_hidden(model, batch), model.head()), -1);  // (N, V)
  const auto* values = log_probs.const_data_ptr<float>();
  Evaluation sum;
  int64_t row = 0;
  for (const Piece& piece : pieces) {
    const TokenDocument& document = dataset.documents[static_cast<size_t>(piece.document)];
    for (int64_t i = 0; i + 1 < piece.length; ++i) {
      const auto next = static_cast<size_t>(piece.begin + i + 1);
      if (document.in_loss[next] == 0) continue;
      sum.cross_entropy -= static_cast<double>(values[(row + i) * log_probs.size(1) + document.tokens[next]]);
      ++sum.tokens;
    }
    row += piece.length;
  }
  return sum;
}

}  // namespace

double Evaluation::perplexity() const {
  return std::exp(cross_entropy);
}

Evaluation evaluate(const CausalLM& model, const TokenDataset& dataset, int64_t max_tokens, int threads,
                    const Progress& progress) {
  const c10::NoGradGuard no_grad;
  const std::vector<std::vector<Piece>> batches = pack(dataset, max_tokens, kBatchTokens, 0, 0);
  std::vector<Evaluation> sums(batches.size());
  run_shards(static_cast<int64_t>(batches.size()), threads, [&](int64_t i) {
    sums[static_cast<size_t>(i)] = evaluate_batch(model, dataset, batches[static_cast<size_t>(i)]);
  });
  Evaluation total;
  for (const Evaluation& sum : sums) {
    total.tokens += sum.tokens;
    total.cross_entropy += sum.cross_entropy;
  }
  if (total.tokens > 0) total.cross_entropy /= static_cast<double>(total.tokens);
  report(progress, {.stage = "evaluate", .unit = "tokens", .done = total.tokens, .total = total.tokens});
  return total;
}

}  // namespace attar
