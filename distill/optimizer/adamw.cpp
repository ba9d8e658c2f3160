#include "distill/optimizer/adamw.h"

#include <ATen/ops/zeros_like.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "compress/shards.h"
#include "runtime/base/fast_math.h"

namespace attar {
namespace {

constexpr int64_t kPart = int64_t{1} << 20;  // elements one thread takes at a time
constexpr int64_t kLanes = 16;

struct Part {
  float *parameter, *first, *second;
  const float* gradient;
  int64_t count;
  float decay, step;
};

struct Factors {
  float scale, beta1, beta2, inverse_root, epsilon;
};

ATTAR_VECTOR_CLONES void update(const Part& given, const Factors& factors) {
  const Part part = given;
  const Factors f = factors;
#pragma GCC ivdep
  for (int64_t i = 0; i < part.count; ++i) {
    const float g = part.gradient[i] * f.scale;
    const float m = part.first[i] + (1.0f - f.beta1) * (g - part.first[i]);
    const float v = f.beta2 * part.second[i] + (1.0f - f.beta2) * g * g;
    part.first[i] = m;
    part.second[i] = v;
    part.parameter[i] = part.parameter[i] * part.decay - part.step * m / (std::sqrt(v) * f.inverse_root + f.epsilon);
  }
}

ATTAR_VECTOR_CLONES double sum_of_squares(const float* x, int64_t n) {
  double lanes[kLanes] = {};
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes)
    for (int64_t l = 0; l < kLanes; ++l) lanes[l] += static_cast<double>(x[i + l]) * static_cast<double>(x[i + l]);
  double sum = 0.0;
  for (int64_t l = 0; l < kLanes; ++l) sum += lanes[l];
  for (; i < n; ++i) sum += static_cast<double>(x[i]) * static_cast<double>(x[i]);
  return sum;
}

}  // namespace

void adamw_step(std::map<std::string, at::Tensor>& parameters, const std::map<std::string, at::Tensor>& gradients,
                AdamWState& state, const AdamWSettings& settings, double gradient_scale, int threads) {
  ++state.steps;
  const double correction1 = 1.0 - std::pow(settings.beta1, static_cast<double>(state.steps)),
               correction2 = 1.0 - std::pow(settings.beta2, static_cast<double>(state.steps));
  const Factors factors{static_cast<float>(gradient_scale), static_cast<float>(settings.beta1),
                        static_cast<float>(settings.beta2), static_cast<float>(1.0 / std::sqrt(correction2)),
                        static_cast<float>(settings.epsilon)};
  std::vector<Part> parts;
  for (auto& [name, parameter] : parameters) {
    at::Tensor &first = state.first[name], &second = state.second[name];
    if (!first.defined()) first = at::zeros_like(parameter), second = at::zeros_like(parameter);
    const auto ratio = settings.learning_rate_ratios.find(name);
    const double rate =
        ratio == settings.learning_rate_ratios.end() ? settings.learning_rate : settings.learning_rate * ratio->second;
    const auto decay = static_cast<float>(parameter.dim() == 2 ? 1.0 - rate * settings.weight_decay : 1.0);
    const auto step = static_cast<float>(rate / correction1);
    for (int64_t at = 0; at < parameter.numel(); at += kPart)
      parts.push_back({parameter.data_ptr<float>() + at, first.data_ptr<float>() + at, second.data_ptr<float>() + at,
                       gradients.at(name).const_data_ptr<float>() + at, std::min(kPart, parameter.numel() - at), decay,
                       step});
  }
  run_shards(static_cast<int64_t>(parts.size()), threads,
             [&](int64_t i) { update(parts[static_cast<size_t>(i)], factors); });
}

double global_norm(const std::map<std::string, at::Tensor>& gradients, int threads) {
  std::vector<const at::Tensor*> tensors;
  for (const auto& [name, gradient] : gradients) tensors.push_back(&gradient);
  std::vector<double> sums(tensors.size());
  run_shards(static_cast<int64_t>(tensors.size()), threads, [&](int64_t i) {
    sums[static_cast<size_t>(i)] = sum_of_squares(tensors[static_cast<size_t>(i)]->const_data_ptr<float>(),
                                                  tensors[static_cast<size_t>(i)]->numel());
  });
  double total = 0.0;
  for (const double sum : sums) total += sum;
  return std::sqrt(total);
}

}  // namespace attar
