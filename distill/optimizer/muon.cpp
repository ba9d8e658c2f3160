#include "distill/optimizer/muon.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/addmm.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/norm.h>
#include <ATen/ops/zeros_like.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "compress/shards.h"
#include "runtime/formats/tensor_specs.h"

namespace attar {
namespace {

// Jordan's: p(x) = a x + b x^3 + c x^5, five times, takes singular values from 0.005 on to between 0.7 and 1.2.
constexpr double kA = 3.4445, kB = -4.7750, kC = 2.0315;
constexpr int kSteps = 5;
constexpr double kLeastNorm = 1e-7;
constexpr double kRms = 0.2;  // of AdamW's usual step, over the learning rate (Liu et al., section 2.2)

bool is_of(const std::string& parameter, const std::string& tensor) {
  return parameter == tensor || parameter.rfind(tensor + ".", 0) == 0;
}

bool has_heads(Role role) {
  return role == Role::Query || role == Role::Key || role == Role::Value;
}

// Rows (m, n) times (n, m), m <= n, then what follows, kSteps times.
double flops_of(int64_t rows, int64_t columns) {
  const auto [m, n] = std::minmax({static_cast<double>(rows), static_cast<double>(columns)});
  return kSteps * (4.0 * m * m * n + 2.0 * m * m * m);
}

// Each so many rows of x (M, N) by themselves; M is a multiple of them. -> (M, N)
at::Tensor nearly_orthogonal_heads(const at::Tensor& x, int64_t rows, Precision precision) {
  at::Tensor out = at::empty_like(x);
  for (int64_t row = 0; row < x.size(0); row += rows)
    out.narrow(0, row, rows).copy_(nearly_orthogonal(x.narrow(0, row, rows), precision));
  return out;
}

}  // namespace

NamedTensors muon_matrices(const ModelConfig& config, const NamedTensors& trained) {
  std::vector<std::string> others;
  for (const TensorSpec& spec : tensor_specs(config))
    if (spec.role == Role::Embedding || spec.role == Role::Output) others.push_back(spec.name);
  NamedTensors matrices;
  for (const auto& [name, tensor] : trained)
    if (tensor.dim() == 2 &&
        std::none_of(others.begin(), others.end(), [&](const auto& other) { return is_of(name, other); }))
      matrices[name] = tensor;
  return matrices;
}

std::map<std::string, int64_t> muon_head_rows(const ModelConfig& config, const NamedTensors& matrices) {
  std::map<std::string, int64_t> rows;
  for (const TensorSpec& spec : tensor_specs(config)) {
    if (!has_heads(spec.role)) continue;
    for (const auto& [name, matrix] : matrices)
      if (is_of(name, spec.name) && matrix.sizes() == at::IntArrayRef(spec.shape))
        rows[name] = config.layers[static_cast<size_t>(spec.layer)].head_dim;
  }
  return rows;
}

at::Tensor nearly_orthogonal(const at::Tensor& x, Precision precision) {
  const bool tall = x.size(0) > x.size(1);  // the smaller side first: its square is what is multiplied
  const double norm = std::max(x.norm().item<double>(), kLeastNorm);
  const auto kind = precision == Precision::Bf16 ? at::kBFloat16 : at::kFloat;
  at::Tensor y = (tall ? x.t() : x).div(norm).to(kind).contiguous(), next = at::empty_like(y);  // (m, n), m <= n
  at::Tensor square = at::empty({y.size(0), y.size(0)}, kind), polynomial = at::empty_like(square);
  for (int i = 0; i < kSteps; ++i) {
    at::mm_out(square, y, y.t());
    at::addmm_out(polynomial, square, square, square, kB, kC);
    at::addmm_out(next, y, polynomial, y, kA, 1.0);
    std::swap(y, next);
  }
  return (tall ? y.t() : y).to(at::kFloat);
}

double muon_flops(const ModelConfig& config) {
  double flops = 0.0;
  for (const TensorSpec& spec : tensor_specs(config)) {
    if (spec.shape.size() != 2 || spec.role == Role::Embedding || spec.role == Role::Output) continue;
    const int64_t rows = has_heads(spec.role) ? config.layers[static_cast<size_t>(spec.layer)].head_dim : spec.shape[0];
    flops += static_cast<double>(spec.shape[0] / rows) * flops_of(rows, spec.shape[1]);
  }
  return flops;
}

void muon_step(NamedTensors& matrices, const NamedTensors& gradients, NamedTensors& momenta,
               const MuonSettings& settings, double gradient_scale, int threads) {
  struct Part {
    at::Tensor weights, gradient, momentum;
    double rate;
    int64_t rows;  // that step by themselves
  };
  std::vector<Part> parts;
  for (auto& [name, weights] : matrices) {
    at::Tensor& momentum = momenta[name];
    if (!momentum.defined()) momentum = at::zeros_like(weights);
    const auto ratio = settings.learning_rate_ratios.find(name);
    const auto head = settings.head_rows.find(name);
    parts.push_back({weights, gradients.at(name), momentum,
                     settings.learning_rate * (ratio == settings.learning_rate_ratios.end() ? 1.0 : ratio->second),
                     head == settings.head_rows.end() ? weights.size(0) : head->second});
  }
  run_shards(std::ssize(parts), threads, [&](int64_t i) {
    const c10::NoGradGuard no_grad;
    Part& part = parts[static_cast<size_t>(i)];
    const at::Tensor gradient = part.gradient * gradient_scale;
    part.momentum.mul_(settings.momentum).add_(gradient);
    const at::Tensor ahead = gradient.add_(part.momentum, settings.momentum);  // Nesterov's
    const auto longest = static_cast<double>(std::max(part.rows, part.weights.size(1)));
    part.weights.mul_(1.0 - part.rate * settings.weight_decay)
        .add_(nearly_orthogonal_heads(ahead, part.rows, settings.precision), -part.rate * kRms * std::sqrt(longest));
  });
}

}  // namespace attar
