#include "quantize/correction.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/mm.h>

#include <algorithm>

#include "compress/obs.h"
#include "compress/shards.h"

namespace attar {
namespace {

constexpr double kShare = 0.5, kRidge = 0.5;
constexpr double kQuietest = 1e-6;      // of the middle input's energy: D takes no input for quieter
constexpr double kLeastEnergy = 1e-30;  // whose inverse f32 holds
constexpr int64_t kRowsAPart = 128;

// What little an input next to dead has to do with the drift would be divided by next to nothing: weights without end,
// which would spoil the scales of those beside them. energies (in) f32
double least_energy(const at::Tensor& energies) {
  const at::Tensor used = energies.masked_select(energies.gt(0.0));
  if (used.numel() == 0) return 1.0;
  return std::max(kLeastEnergy, kQuietest * used.median().item<double>());
}

// Well conditioned, so in f32. -> (in, in) f32: (X^T X / tokens + D)^-1
at::Tensor inverse_of(const LinearStats& stats) {
  at::Tensor damped = (stats.gram / static_cast<double>(stats.tokens)).to(at::kFloat);
  const at::Tensor energies = damped.diagonal().clone();
  damped.diagonal().add_(kRidge * energies.clamp_min(least_energy(energies)));
  return obs::inverted(damped);
}

// share * drift / tokens * inverse. drift (n, in) f64 -> (n, in) f32
at::Tensor times(const at::Tensor& drift, const LinearStats& stats, const at::Tensor& inverse, int threads) {
  at::Tensor out = at::empty(drift.sizes(), at::kFloat);
  run_shards((drift.size(0) + kRowsAPart - 1) / kRowsAPart, threads, [&](int64_t part) {
    const int64_t first = part * kRowsAPart, n = std::min(kRowsAPart, drift.size(0) - first);
    const at::Tensor mean = drift.narrow(0, first, n) * (kShare / static_cast<double>(stats.tokens));
    at::Tensor rows = out.narrow(0, first, n);
    at::mm_out(rows, mean.to(at::kFloat), inverse);
  });
  return out;
}

}  // namespace

void Correction::add_to(at::Tensor rows, int64_t first) const {
  const at::Tensor gained = by_weights.defined() ? at::mm(rows, by_weights) : at::Tensor();
  if (gained.defined()) rows += gained;
  if (by_stream.defined()) rows += by_stream.narrow(0, first, rows.size(0));
}

Correction correction_of(const LinearStats& stats, int threads) {
  if (!stats.input_drift.defined()) return {};
  const at::Tensor inverse = inverse_of(stats);
  Correction out{.by_weights = times(stats.input_drift, stats, inverse, threads)};
  if (stats.stream_drift.defined()) out.by_stream = times(stats.stream_drift, stats, inverse, threads);
  return out;
}

}  // namespace attar
