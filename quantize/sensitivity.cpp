#include "quantize/sensitivity.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/mm.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <numeric>
#include <set>
#include <span>

#include "compress/shards.h"
#include "quantize/grid.h"

namespace attar {
namespace {

constexpr int64_t kSampleRows = 256;
constexpr int64_t kLogitRows = 128;  // whose logits are there at once
constexpr int64_t kRowsAShard = 64;
constexpr size_t kProbeSequences = 2;
constexpr TensorType kProbeType = TensorType::IQ4_NL;

// Squared rounding errors of a sample of rows by input, each row's by its own energy, averaged. -> (in) f64
at::Tensor rounding_noise(const at::Tensor& weight, TensorType type, const std::vector<float>& weights) {
  const int64_t stride = std::max<int64_t>(1, weight.size(0) / kSampleRows);
  const at::Tensor rows = weight.slice(0, 0, weight.size(0), stride).contiguous();
  const at::Tensor energy = rows.square().sum(at::IntArrayRef{1}, true, at::kDouble).clamp_min(1e-30);
  if (!has_grid(format_of(type)))  // F16: half a unit of 2^-10 at most, so a twelfth of its square in the mean
    return (rows.to(at::kDouble).square() / energy).mean(0) * 0x1p-20 / 12.0;
  const std::span<const float> values(rows.const_data_ptr<float>(), static_cast<size_t>(rows.numel()));
  const Grid grid = fit_grid(format_of(type), values, weights);
  at::Tensor error = at::empty_like(rows);
  auto* e = error.mutable_data_ptr<float>();
  for (size_t i = 0; i < values.size(); ++i)
    e[i] = round_at(grid, static_cast<int64_t>(i), values[i]).value - values[i];
  return (error.to(at::kDouble).square() / energy).mean(0);
}

struct Loss {
  double alone = 0, fed_back = 0;
};
Loss loss_of(const at::Tensor& weight, const std::vector<ErrorMetric>& metrics, const at::Tensor& noise) {
  const at::Tensor energy = weight.square().sum(at::IntArrayRef{1}, false, at::kDouble);
  Loss loss;
  for (const ErrorMetric& metric : metrics) {
    const double outputs = 0.5 * (metric.outputs * energy).sum().item<double>();
    loss.alone += outputs * (metric.alone * noise).sum().item<double>();
    loss.fed_back += outputs * (metric.fed_back * noise).sum().item<double>();
  }
  return loss;
}

std::map<TensorType, Loss> losses_of(const at::Tensor& weight, const TensorSpec& spec, const Survey& survey,
                                     const std::vector<TensorType>& types) {
  std::map<TensorType, Loss> losses;
  for (const TensorType type : types)
    if (spec.shape[1] % format_of(type).block_size == 0)
      losses[type] =
          loss_of(weight, survey.metrics.at(spec.name), rounding_noise(weight, type, survey.weights.at(spec.name)));
  return losses;
}

// The divergence that rounding a part of the model makes, on a few sequences.
class Probe {
 public:
  Probe(const CausalLM& model, const Survey& survey, const std::vector<TokenBatch>& sequences, int threads)
      : model_(model),
        survey_(survey),
        batches_(sequences.begin(),
                 sequences.begin() + static_cast<std::ptrdiff_t>(std::min(kProbeSequences, sequences.size()))),
        threads_(threads),
        whole_(hidden_states(model)) {}

  // Of all matrices of a role, each weight by itself. Nats a token.
  double divergence(const std::vector<TensorSpec>& matrices, Role role) const {
    CausalLM changed = model_;
    for (const TensorSpec& spec : matrices)
      if (spec.role == role && spec.shape[1] % format_of(kProbeType).block_size == 0)
        changed.parameters[spec.name] = rounded(spec.name);
    const std::vector<at::Tensor> hidden = hidden_states(changed);
    std::vector<double> sums(batches_.size(), 0.0);
    int64_t tokens = 0;
    for (const TokenBatch& batch : batches_) tokens += batch.tokens.size(0);
    run_shards(static_cast<int64_t>(batches_.size()), threads_, [&](int64_t i) {
      const auto at = static_cast<size_t>(i);
      for (int64_t begin = 0; begin < hidden[at].size(0); begin += kLogitRows) {
        const int64_t count = std::min(kLogitRows, hidden[at].size(0) - begin);
        const at::Tensor log_p = log_probs(whole_[at].narrow(0, begin, count), model_.head()),
                         log_q = log_probs(hidden[at].narrow(0, begin, count), changed.head());
        sums[at] += (log_p.exp() * (log_p - log_q)).sum(at::kDouble).item<double>();
      }
    });
    return std::accumulate(sums.begin(), sums.end(), 0.0) / static_cast<double>(tokens);
  }

 private:
  static at::Tensor log_probs(const at::Tensor& hidden, const at::Tensor& head) {
    return at::log_softmax(at::mm(hidden, head.detach().t()), 1);
  }
  std::vector<at::Tensor> hidden_states(const CausalLM& model) const {
    std::vector<at::Tensor> hidden(batches_.size());
    run_shards(static_cast<int64_t>(batches_.size()), threads_, [&](int64_t i) {
      const c10::NoGradGuard no_grad;
      hidden[static_cast<size_t>(i)] = forward_hidden(model, batches_[static_cast<size_t>(i)]);
    });
    return hidden;
  }
  at::Tensor rounded(const std::string& name) const {
    at::Tensor out = model_.parameter(name).detach().clone();
    run_shards((out.size(0) + kRowsAShard - 1) / kRowsAShard, threads_, [&](int64_t shard) {
      const int64_t first = shard * kRowsAShard;
      at::Tensor rows = out.narrow(0, first, std::min(kRowsAShard, out.size(0) - first));
      auto* x = rows.mutable_data_ptr<float>();
      const Grid grid =
          fit_grid(format_of(kProbeType), {x, static_cast<size_t>(rows.numel())}, survey_.weights.at(name));
      for (int64_t i = 0; i < rows.numel(); ++i) x[i] = round_at(grid, i, x[i]).value;
    });
    return out;
  }

  const CausalLM& model_;
  const Survey& survey_;
  std::vector<TokenBatch> batches_;
  int threads_;
  std::vector<at::Tensor> whole_;  // (N, C) each, of the model as it is
};

std::set<Role> roles_of(const std::vector<TensorSpec>& matrices) {
  std::set<Role> roles;
  for (const TensorSpec& spec : matrices) roles.insert(spec.role);
  return roles;
}

}  // namespace

Sensitivity measure_sensitivity(const CausalLM& model, const Survey& survey, const std::vector<TokenBatch>& sequences,
                                const std::vector<TensorType>& types, Rounding rounding, int threads,
                                const Progress& progress) {
  const OneThread one_thread;
  const c10::NoGradGuard no_grad;
  std::vector<TensorSpec> matrices;
  for (const TensorSpec& spec : tensor_specs(model.config))
    if (spec.is_matrix()) matrices.push_back(spec);
  std::vector<std::map<TensorType, Loss>> losses(matrices.size());
  run_shards(static_cast<int64_t>(matrices.size()), threads, [&](int64_t i) {
    const TensorSpec& spec = matrices[static_cast<size_t>(i)];
    losses[static_cast<size_t>(i)] = losses_of(model.parameter(spec.name).detach(), spec, survey, types);
  });
  const Probe probe(model, survey, sequences, threads);
  std::map<Role, double> scales;
  const std::set<Role> roles = roles_of(matrices);
  for (const Role role : roles) {
    double predicted = 0.0;
    for (size_t i = 0; i < matrices.size(); ++i)
      if (matrices[i].role == role && losses[i].contains(kProbeType)) predicted += losses[i].at(kProbeType).alone;
    const double found = probe.divergence(matrices, role);
    scales[role] = predicted > 0.0 ? found / predicted : 1.0;
    report(progress, {.stage = "probes",
                      .unit = "roles",
                      .done = static_cast<int64_t>(scales.size()),
                      .total = static_cast<int64_t>(roles.size())});
  }
  Sensitivity out;
  for (size_t i = 0; i < matrices.size(); ++i)
    for (const auto& [type, loss] : losses[i])
      out[matrices[i].name][type] =
          scales[matrices[i].role] * (rounding == Rounding::FedBack ? loss.fed_back : loss.alone);
  return out;
}

}  // namespace attar
