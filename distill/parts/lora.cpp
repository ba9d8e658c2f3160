#include "distill/parts/lora.h"

#include <ATen/ops/addmm.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <cmath>

#include "compress/shards.h"
#include "distill/parts/kept_zeros.h"
#include "runtime/base/random.h"
#include "runtime/formats/tensor_specs.h"

namespace attar {
namespace {

constexpr int64_t kBlock = 256;  // rows or columns of a matrix that one product makes
constexpr const char *kA = "lora_a", *kB = "lora_b";

void for_each_block(int64_t size, int threads, const std::function<void(int64_t begin, int64_t count)>& work) {
  run_shards((size + kBlock - 1) / kBlock, threads,
             [&](int64_t i) { work(i * kBlock, std::min(kBlock, size - i * kBlock)); });
}

// Uniform in +-sqrt(6 / ((1 + 5) * in)), as torch.nn.Linear and the paper's own code begin.
at::Tensor random_a(int64_t rank, int64_t in, uint64_t seed, uint64_t stream) {
  at::Tensor a = at::empty({rank, in}, at::kFloat);
  const CounterRandom random(seed, stream);
  const double bound = 1.0 / std::sqrt(static_cast<double>(in));
  for (int64_t i = 0; i < a.numel(); ++i)
    a.data_ptr<float>()[i] = static_cast<float>(bound * (2.0 * random.uniform(static_cast<uint64_t>(i)) - 1.0));
  return a;
}

Reparameterization adapter(const at::Tensor& weights, const DistillOptions& options, uint64_t seed, uint64_t stream) {
  const at::Tensor base = weights.detach().clone();
  const int64_t rank = options.lora_rank;
  const double scale = options.lora_alpha / static_cast<double>(rank);
  Reparameterization out;
  out.parameters[kA] = random_a(rank, base.size(1), seed, stream);
  out.parameters[kB] = at::zeros({base.size(0), rank}, at::kFloat);
  out.effective = [base, scale](const NamedTensors& p, at::Tensor& made, int threads) {
    at::Tensor whole = made.detach();
    for_each_block(base.size(0), threads, [&](int64_t begin, int64_t count) {
      at::Tensor rows = whole.narrow(0, begin, count);
      at::addmm_out(rows, base.narrow(0, begin, count), p.at(kB).narrow(0, begin, count), p.at(kA), 1.0, scale);
    });
  };
  out.pull_back = [scale](const NamedTensors& p, const at::Tensor& gradient, int threads) {
    at::Tensor by_a = at::empty_like(p.at(kA)), by_b = at::empty_like(p.at(kB));
    const at::Tensor a = p.at(kA).t(), b = p.at(kB).t();
    for_each_block(by_b.size(0), threads, [&](int64_t begin, int64_t count) {
      by_b.narrow(0, begin, count).copy_(at::mm(gradient.narrow(0, begin, count), a).mul_(scale));
    });
    for_each_block(by_a.size(1), threads, [&](int64_t begin, int64_t count) {
      by_a.narrow(1, begin, count).copy_(at::mm(b, gradient.narrow(1, begin, count)).mul_(scale));
    });
    return NamedTensors{{kA, by_a}, {kB, by_b}};
  };
  return out;
}

bool names(const std::vector<std::string>& roles, Role role) {
  return std::find(roles.begin(), roles.end(), role_name(role)) != roles.end();
}

// Without targets: the matrices of the layers.
bool is_adapted(const TensorSpec& spec, const DistillOptions& options) {
  if (!spec.is_matrix() || options.lora_rank == 0) return false;
  return options.lora_targets.empty() ? spec.layer >= 0 : names(options.lora_targets, spec.role);
}

}  // namespace

Reparameterizations trained_parts(const CausalLM& student, const DistillOptions& options, uint64_t seed) {
  constexpr uint64_t kStream = 0x6c6f7261;
  Reparameterizations parts;
  uint64_t stream = kStream;
  for (const TensorSpec& spec : tensor_specs(student.config)) {
    ++stream;
    if (is_adapted(spec, options))
      parts[spec.name] = adapter(student.parameters.at(spec.name), options, seed, stream);
    else if (options.lora_rank > 0 || names(options.frozen, spec.role))
      parts[spec.name] = {};
  }
  if (options.keep_zeros) keep_zeros(student, parts);
  return parts;
}

}  // namespace attar
