// One tensor's codes, made of its weights as they are read: of a file a few rows are in memory at a time.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <span>
#include <vector>

#include "compress/weight_source.h"
#include "quantize/correction.h"
#include "quantize/gptq.h"
#include "quantize/quantize.h"

namespace attar {

// Each weight by itself; importance (in) or nullptr. Error{Input} naming the tensor for NaN or infinite weights, and
// for those that are too large for the planned type. No bit depends on threads. `between`: run_shards.
QuantizedTensor encode_tensor(const WeightSource& weights, const PlannedTensor& planned,
                              const std::vector<float>* importance, int threads,
                              const std::function<void()>& between = {});

// The same under error feedback: its inputs, what the grid is searched under (in), and what the weights aim at besides.
struct Feedback {
  const gptq::InputHessian& inputs;
  std::span<const float> search_weights;
  const Correction& correction;
};
// `values` (out, in), where asked for: what the bytes decode to.
QuantizedTensor encode_with_feedback(const WeightSource& weights, const PlannedTensor& planned,
                                     const Feedback& feedback, int threads, at::Tensor* values = nullptr,
                                     const std::function<void()>& between = {});

// What the bytes decode to. -> (out, in)
at::Tensor decoded(const QuantizedTensor& tensor, int threads);
// Rows of it. -> (ids, in)
at::Tensor decoded_rows(const QuantizedTensor& tensor, const std::vector<int64_t>& ids);

}  // namespace attar
