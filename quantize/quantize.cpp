#include "quantize/quantize.h"

#include <ATen/core/Tensor.h>

#include <cmath>

#include "compress/block_walk.h"
#include "compress/shards.h"
#include "quantize/encode.h"
#include "runtime/base/error.h"
#include "runtime/formats/finite.h"

namespace attar {
namespace {

constexpr int64_t kSequenceTokens = 512, kBatchTokens = 1024;
constexpr int64_t kRowsAPart = 64;

std::vector<float> means(const LinearStats& stats) {
  std::vector<float> out(static_cast<size_t>(stats.sum_squares.numel()));
  const auto* sums = stats.sum_squares.const_data_ptr<double>();
  for (size_t i = 0; i < out.size(); ++i) out[i] = static_cast<float>(sums[i] / static_cast<double>(stats.tokens));
  return out;
}

// Weights that no block can be all zero in: a thousandth of the mean is added.
std::vector<float> floored(const std::vector<float>& importance) {
  double sum = 0.0;
  for (const float v : importance) sum += static_cast<double>(v);
  const auto floor =
      static_cast<float>(1e-3 * sum / static_cast<double>(std::max<size_t>(1, importance.size())) + 1e-30);
  std::vector<float> out(importance);
  for (float& v : out) v += floor;
  return out;
}

QuantizedTensor encode_tensor(const at::Tensor& tensor, const PlannedTensor& planned,
                              const std::vector<float>* importance, int threads) {
  const QuantFormat& format = format_of(planned.type);
  const at::Tensor values = tensor.contiguous();
  const auto* data = values.const_data_ptr<float>();
  require_finite(planned.spec.name, {data, static_cast<size_t>(values.numel())});
  const int64_t columns = values.size(-1), rows = values.numel() / columns, row_bytes = format.row_bytes(columns);
  QuantizedTensor out{planned.type, planned.spec.shape, std::vector<std::byte>(static_cast<size_t>(rows * row_bytes))};
  const std::vector<float> weights = importance != nullptr ? floored(*importance) : std::vector<float>();
  const int64_t parts = (rows + kRowsAPart - 1) / kRowsAPart;
  std::vector<double> errors(static_cast<size_t>(parts), 0.0), norms(static_cast<size_t>(parts), 0.0);
  run_shards(parts, threads, [&](int64_t part) {
    for (int64_t r = part * kRowsAPart; r < std::min(rows, (part + 1) * kRowsAPart); ++r) {
      const std::span<const float> row(data + r * columns, static_cast<size_t>(columns));
      errors[static_cast<size_t>(part)] +=
          encode_row(format, row, weights,
                     std::span(out.bytes).subspan(static_cast<size_t>(r * row_bytes), static_cast<size_t>(row_bytes)));
      for (size_t j = 0; j < row.size(); ++j)
        norms[static_cast<size_t>(part)] += (weights.empty() ? 1.0 : static_cast<double>(weights[j])) *
                                            static_cast<double>(row[j]) * static_cast<double>(row[j]);
    }
  });
  double error = 0.0, norm = 0.0;
  for (size_t i = 0; i < errors.size(); ++i) error += errors[i], norm += norms[i];
  if (!std::isfinite(error))  // a scale or value that became infinite: F16, also inside blocks, ends at 65504
    throw input_error("tensor " + planned.spec.name, std::string("holds values too large for ") + format.name, "", "",
                      "keep it in another type, such as BF16 or F32");
  out.relative_error = norm > 0.0 ? error / norm : 0.0;
  return out;
}

}  // namespace

Importance collect_importance(CausalLM& model, const TokenDataset& calibration, int64_t max_tokens, int threads,
                              const Progress& progress) {
  const std::vector<TokenBatch> batches = batches_in_order(
      calibration, std::min(kSequenceTokens, model.config.context_length), kBatchTokens, max_tokens);
  if (batches.empty()) throw input_error("quantize", "the calibration data is empty", "text to measure activations on");
  Importance importance;
  WalkOptions options;
  options.threads = threads;
  const auto visit = [&](int64_t layer, LinearGroup group, const LinearStats& stats) {
    if (layer >= model.config.n_layers()) {  // the head's input; a tied embedding is quantized for it
      importance[tensor_name(0, model.config.tied_embeddings ? Role::Embedding : Role::Output)] = means(stats);
      return;
    }
    for (const Role role : group_roles(group)) importance[tensor_name(layer, role)] = means(stats);
  };
  walk_blocks(model, batches, options, visit, "importance", progress);
  return importance;
}

QuantizedModel quantize(const CausalLM& model, const QuantizePlan& plan, const Importance& importance, int threads,
                        const Progress& progress) {
  QuantizedModel out{model.config, plan, {}};
  const auto total = static_cast<int64_t>(plan.tensors.size());
  for (const PlannedTensor& planned : plan.tensors) {
    const auto known = importance.find(planned.spec.name);
    if (known != importance.end() && static_cast<int64_t>(known->second.size()) != planned.spec.shape.back())
      throw input_error("importance of " + planned.spec.name, "has another width",
                        std::to_string(planned.spec.shape.back()), std::to_string(known->second.size()),
                        "it was made for another model");
    out.tensors[planned.spec.name] = encode_tensor(model.parameter(planned.spec.name).detach(), planned,
                                                   known == importance.end() ? nullptr : &known->second, threads);
    report(progress,
           {.stage = "quantize", .unit = "tensors", .done = static_cast<int64_t>(out.tensors.size()), .total = total});
  }
  return out;
}

}  // namespace attar
