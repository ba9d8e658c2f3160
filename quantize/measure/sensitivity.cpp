#include "quantize/measure/sensitivity.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <span>

#include "compress/shards.h"
#include "quantize/grid/encode.h"
#include "quantize/measure/probe.h"

namespace attar {
namespace {

constexpr int64_t kSampleRows = 256;
constexpr int64_t kLatticeRows = 64;       // of the sample, for types that take ten times as long
constexpr double kLeastDivergence = 1e-7;  // nats a token: below it a sum in f32 is noise, also below 0

// Rows of the sample one after another. -> (n, in)
at::Tensor sample_of(const WeightSource& weights, const TensorSpec& spec) {
  std::vector<int64_t> ids;
  for (int64_t row = 0; row < spec.shape[0]; row += std::max<int64_t>(1, spec.shape[0] / kSampleRows))
    ids.push_back(row);
  return weights.rows(spec, ids);
}

// What rows become in the type, each weight by itself. -> (n, in)
at::Tensor rounded_rows(const at::Tensor& rows, const QuantFormat& format, const std::vector<float>& weights) {
  const std::span<const float> values(rows.const_data_ptr<float>(), static_cast<size_t>(rows.numel()));
  std::vector<std::byte> bytes(static_cast<size_t>(format.row_bytes(rows.numel())));
  encode_rows(format, values, weights, bytes);
  at::Tensor out = at::empty_like(rows);
  format.decode(bytes.data(), rows.numel() / format.block_size, out.mutable_data_ptr<float>());
  return out;
}

// Squared rounding errors of a sample of rows (n, in) by input, each row's by its own energy, averaged. -> (in) f64
at::Tensor rounding_noise(const at::Tensor& sample, TensorType type, const std::vector<float>& weights) {
  const QuantFormat& format = format_of(type);
  const at::Tensor rows =
      format.lattice != nullptr ? sample.narrow(0, 0, std::min(kLatticeRows, sample.size(0))) : sample;
  const at::Tensor energy = rows.square().sum(at::IntArrayRef{1}, true, at::kDouble).clamp_min(1e-30);
  if (!format.written_in_blocks())  // F16: half a unit of 2^-10 at most, so a twelfth of its square in the mean
    return (rows.to(at::kDouble).square() / energy).mean(0) * 0x1p-20 / 12.0;
  const at::Tensor error = rounded_rows(rows, format, weights) - rows;
  return (error.to(at::kDouble).square() / energy).mean(0);
}

// Squares of each row, summed. -> (out) f64
at::Tensor row_energy(const WeightSource& weights, const TensorSpec& spec) {
  at::Tensor energy = at::empty({spec.shape[0]}, at::kDouble);
  for (int64_t row = 0; row < spec.shape[0]; row += kSampleRows) {
    const int64_t count = std::min(kSampleRows, spec.shape[0] - row);
    at::Tensor rows = at::empty({count, spec.shape[1]}, at::kFloat);
    weights.read_rows(spec, row, {rows.mutable_data_ptr<float>(), static_cast<size_t>(rows.numel())});
    energy.narrow(0, row, count).copy_(rows.square().sum(at::IntArrayRef{1}, false, at::kDouble));
  }
  return energy;
}

struct Loss {
  double alone = 0, fed_back = 0;
};
Loss loss_of(const at::Tensor& energy, const std::vector<ErrorMetric>& metrics, const at::Tensor& noise) {
  Loss loss;
  for (const ErrorMetric& metric : metrics) {
    const double outputs = 0.5 * (metric.outputs * energy).sum().item<double>();
    loss.alone += outputs * (metric.alone * noise).sum().item<double>();
    loss.fed_back += outputs * (metric.fed_back * noise).sum().item<double>();
  }
  return loss;
}

std::map<TensorType, Loss> losses_of(const WeightSource& weights, const TensorSpec& spec, const Survey& survey,
                                     const std::vector<TensorType>& types) {
  const at::Tensor sample = sample_of(weights, spec), energy = row_energy(weights, spec);
  std::map<TensorType, Loss> losses;
  for (const TensorType type : types)
    if (spec.shape[1] % format_of(type).block_size == 0)
      losses[type] =
          loss_of(energy, survey.metrics.at(spec.name), rounding_noise(sample, type, survey.weights.at(spec.name)));
  return losses;
}

}  // namespace

Sensitivity measure_sensitivity(const WeightSource& weights, const Survey& survey,
                                const std::vector<TokenBatch>& sequences, const std::vector<TensorType>& types,
                                Rounding rounding, int threads, const Progress& progress) {
  const OwnKernels own_kernels;
  const c10::NoGradGuard no_grad;
  std::vector<TensorSpec> matrices;
  for (const TensorSpec& spec : tensor_specs(weights.config()))
    if (spec.is_matrix()) matrices.push_back(spec);
  std::vector<std::map<TensorType, Loss>> losses(matrices.size());
  const auto measure = [&](int64_t i) {
    losses[static_cast<size_t>(i)] = losses_of(weights, matrices[static_cast<size_t>(i)], survey, types);
  };
  const Event now{.stage = "probes", .unit = "layers", .total = weights.config().n_layers() + 1};
  run_shards(static_cast<int64_t>(matrices.size()), threads, measure, [&] { report(progress, now); });
  const std::map<Role, double> found = probe_roles(weights, survey, sequences, threads, progress);
  std::map<Role, double> scales;
  for (const auto& [role, divergence] : found) {
    double predicted = 0.0;
    for (size_t i = 0; i < matrices.size(); ++i)
      if (matrices[i].role == role && losses[i].contains(kProbeType)) predicted += losses[i].at(kProbeType).alone;
    scales[role] = predicted > 0.0 ? std::max(divergence, kLeastDivergence) / predicted : 1.0;
  }
  Sensitivity out;
  for (size_t i = 0; i < matrices.size(); ++i)
    for (const auto& [type, loss] : losses[i])
      out[matrices[i].name][type] =
          scales[matrices[i].role] * (rounding == Rounding::FedBack ? loss.fed_back : loss.alone);
  return out;
}

}  // namespace attar
