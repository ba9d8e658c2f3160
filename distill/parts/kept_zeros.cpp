#include "distill/parts/kept_zeros.h"

#include <algorithm>
#include <cstdint>
#include <functional>
#include <utility>

#include "compress/shards.h"
#include "runtime/base/error.h"
#include "runtime/formats/tensor_specs.h"

namespace attar {
namespace {

constexpr const char* kLatent = "latent";

void for_each_stretch(int64_t size, int threads, const std::function<void(int64_t begin, int64_t end)>& work) {
  constexpr int64_t kLength = int64_t{1} << 16;
  run_shards((size + kLength - 1) / kLength, threads,
             [&](int64_t i) { work(i * kLength, std::min(size, (i + 1) * kLength)); });
}

int64_t zeros_of(const at::Tensor& weights) {
  const at::Tensor of = weights.detach().contiguous();
  const float* values = of.const_data_ptr<float>();
  return std::count(values, values + of.numel(), 0.0f);
}

// `values` becomes 0 where `kept` (the same shape, bool) is false, whatever it was.
void clear_others(const at::Tensor& kept, const at::Tensor& values, int threads) {
  const bool* keeps = kept.const_data_ptr<bool>();
  float* value = values.mutable_data_ptr<float>();
  for_each_stretch(values.numel(), threads, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i)
      if (!keeps[i]) value[i] = 0.0f;
  });
}

// A matrix as a parameter in its own place.
Reparameterization latent_of(const at::Tensor& weights) {
  Reparameterization out;
  out.parameters[kLatent] = weights.detach().contiguous().clone();
  out.effective = [](const NamedTensors& parameters, at::Tensor& made, int threads) {
    const float* latents = parameters.at(kLatent).const_data_ptr<float>();
    float* values = made.mutable_data_ptr<float>();
    for_each_stretch(made.numel(), threads,
                     [&](int64_t begin, int64_t end) { std::copy(latents + begin, latents + end, values + begin); });
  };
  out.pull_back = [](const NamedTensors&, const at::Tensor& gradient, int) {
    return NamedTensors{{kLatent, gradient}};
  };
  return out;
}

// What `of` stands for, where `weights` are not 0 now.
Reparameterization under_mask(Reparameterization of, const at::Tensor& weights) {
  const at::Tensor kept = weights.detach().contiguous().ne(0);  // (out, in) bool
  const auto inner = of.effective;
  const auto through = of.pull_back;
  of.effective = [kept, inner](const NamedTensors& parameters, at::Tensor& made, int threads) {
    inner(parameters, made, threads);
    clear_others(kept, made, threads);
  };
  of.pull_back = [kept, through](const NamedTensors& parameters, const at::Tensor& gradient, int threads) {
    const at::Tensor masked = gradient.contiguous();
    clear_others(kept, masked, threads);
    return through(parameters, masked, threads);
  };
  return of;
}

}  // namespace

void keep_zeros(const CausalLM& student, Reparameterizations& parts) {
  bool found = false;
  for (const TensorSpec& spec : tensor_specs(student.config)) {
    const at::Tensor& weights = student.parameter(spec.name);
    if (!spec.is_matrix() || zeros_of(weights) == 0) continue;
    found = true;
    const auto own = parts.find(spec.name);
    if (own == parts.end())
      parts[spec.name] = under_mask(latent_of(weights), weights);
    else if (!own->second.frozen())
      own->second = under_mask(own->second, weights);
  }
  if (!found)
    throw usage_error("distill.keep_zeros", "the student has no zeros to keep", "a matrix with weights of exactly 0");
}

double zero_share(const CausalLM& model) {
  int64_t zeros = 0, all = 0;
  for (const TensorSpec& spec : tensor_specs(model.config))
    if (spec.is_matrix()) zeros += zeros_of(model.parameter(spec.name)), all += spec.elements();
  return static_cast<double>(zeros) / static_cast<double>(all);
}

}  // namespace attar
