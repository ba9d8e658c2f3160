#include "quantize/measure/importance.h"

#include <ATen/core/Tensor.h>

#include <algorithm>

namespace attar {

std::vector<float> input_means(const LinearStats& stats) {
  std::vector<float> out(static_cast<size_t>(stats.sum_squares.numel()));
  const auto* sums = stats.sum_squares.const_data_ptr<double>();
  for (size_t i = 0; i < out.size(); ++i) out[i] = static_cast<float>(sums[i] / static_cast<double>(stats.tokens));
  return out;
}

std::vector<float> relative_weights(const std::vector<float>& importance) {
  constexpr float kLeast = 1e-3f, kMost = 1e12f;
  std::vector<float> out(importance.size(), 1.0f), used(importance);
  std::erase_if(used, [](float v) { return v <= 0.0f; });
  if (used.empty()) return out;
  const auto middle = used.begin() + static_cast<std::ptrdiff_t>(used.size() / 2);
  std::nth_element(used.begin(), middle, used.end());
  for (size_t j = 0; j < out.size(); ++j) out[j] = std::min(kMost, importance[j] / *middle + kLeast);
  return out;
}

std::vector<float> diagonal_weights(const at::Tensor& matrix) {
  const at::Tensor diagonal = matrix.diagonal().to(at::kFloat).contiguous();
  return relative_weights({diagonal.const_data_ptr<float>(), diagonal.const_data_ptr<float>() + diagonal.numel()});
}

}  // namespace attar
