#include "compress/block_walk.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/mm.h>
#include <c10/core/GradMode.h>

#include <cmath>
#include <string>

#include "compress/shards.h"
#include "runtime/base/error.h"

namespace attar {
namespace {

LinearStats stats_of(const at::Tensor& input, bool gram) {
  LinearStats stats;
  stats.tokens = input.size(0);
  const at::Tensor wide = input.to(at::kDouble);
  stats.sum_squares = (wide * wide).sum(0);
  stats.sum_abs = wide.abs().sum(0);
  if (gram) stats.gram = at::mm(input.t(), input).to(at::kDouble);
  return stats;
}

// In batch order, so that the sum is the same however many threads there were.
LinearStats added(const std::vector<LinearStats>& parts) {
  LinearStats total = parts.front();
  for (size_t i = 1; i < parts.size(); ++i) {
    total.tokens += parts[i].tokens;
    total.sum_squares = total.sum_squares + parts[i].sum_squares;
    total.sum_abs = total.sum_abs + parts[i].sum_abs;
    if (total.gram.defined()) total.gram = total.gram + parts[i].gram;
  }
  return total;
}

// Finite weights may still overflow on the way; what is measured from there on would mean nothing.
void require_finite_inputs(const LinearStats& stats, const std::string& where) {
  const bool squares = std::isfinite(stats.sum_squares.sum().item<double>());
  const bool products = !stats.gram.defined() || std::isfinite(stats.gram.diagonal().sum().item<double>());
  if (!squares || !products)
    throw input_error(where, "the model's values overflow on the calibration text", "", "",
                      "the model is damaged or its training diverged");
}

// The width that the group's linears take now; a visitor may have cut it.
int64_t input_width(const CausalLM& model, int64_t layer, LinearGroup group) {
  return model.block_parameter(layer, group_roles(group).front()).size(1);
}

}  // namespace

void walk_blocks(CausalLM& model, const std::vector<TokenBatch>& calibration, const WalkOptions& options,
                 const GroupVisitor& visit, std::string_view stage, const Progress& progress) {
  const OneThread one_thread;
  const c10::NoGradGuard no_grad;
  const auto n = static_cast<int64_t>(calibration.size());
  std::vector<BlockPass> passes(calibration.size());
  std::vector<LinearStats> parts(calibration.size());
  const auto each = [&](const std::function<void(size_t)>& work) {
    run_shards(n, options.threads, [&](int64_t i) { work(static_cast<size_t>(i)); });
  };
  each([&](size_t i) { passes[i].hidden = embed(model, calibration[i]); });
  const int64_t n_layers = model.config.n_layers();
  for (int64_t layer = 0; layer < n_layers; ++layer) {
    for (int g = 0; g < kGroups; ++g) {
      const auto group = static_cast<LinearGroup>(g);
      each([&](size_t i) {
        enter_group(model, layer, group, calibration[i], passes[i]);
        parts[i] = stats_of(passes[i].inputs[static_cast<size_t>(g)], options.gram[static_cast<size_t>(g)]);
      });
      const LinearStats stats = added(parts);
      require_finite_inputs(stats, "layer " + std::to_string(layer));
      visit(layer, group, stats);
      const bool narrowed = input_width(model, layer, group) != passes[0].inputs[static_cast<size_t>(g)].size(1);
      if (narrowed) each([&](size_t i) { enter_group(model, layer, group, calibration[i], passes[i]); });
    }
    each([&](size_t i) { passes[i] = BlockPass{leave_block(model, layer, passes[i]), {}}; });
    report(progress, {.stage = stage, .unit = "layers", .done = layer + 1, .total = n_layers + 1});
  }
  each([&](size_t i) { parts[i] = stats_of(final_norm(model, passes[i].hidden), false); });
  const LinearStats stats = added(parts);
  require_finite_inputs(stats, "the head");
  visit(n_layers, LinearGroup::Down, stats);
  report(progress, {.stage = stage, .unit = "layers", .done = n_layers + 1, .total = n_layers + 1});
}

}  // namespace attar
