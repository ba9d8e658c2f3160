#include "prune/refit.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/diag.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/tensor.h>

#include <algorithm>

#include "compress/obs.h"

namespace attar {
namespace {

// weight (out, in) f64 with zeros for what is gone
double relative_error(const at::Tensor& weight, const LinearStats& stats) {
  if (stats.target_squares <= 0.0) return 0.0;
  const at::Tensor difference = at::mm(weight, stats.gram) - 2.0 * stats.target;
  return std::max(0.0, 1.0 + (difference * weight).sum().item<double>() / stats.target_squares);
}

// The weight on all inputs that gives the whole model's output best, as far as the tokens tell. What the old weight
// leaves of it, Y - X W^T, is mostly the noise of the cuts before, and a fit of `in` weights to few tokens explains
// in / tokens of any noise; so the step is shortened by the share that chance explains (James and Stein 1961).
at::Tensor towards_target(const at::Tensor& weight, const LinearStats& stats, const at::Tensor& inverse) {
  const at::Tensor given = at::mm(weight, stats.gram), missing = stats.target - given;  // (out, in)
  const at::Tensor step = at::mm(missing, inverse);
  const double explained = (step * missing).sum().item<double>(),
               left = stats.target_squares - ((2.0 * stats.target - given) * weight).sum().item<double>() - explained;
  const auto inputs = static_cast<double>(weight.size(1)), tokens = static_cast<double>(stats.tokens);
  if (tokens <= inputs || explained <= 0.0) return weight;
  const double chance = inputs * std::max(0.0, left) / (tokens - inputs);
  return weight + std::max(0.0, 1.0 - chance / explained) * step;
}

// The inputs of groups, ascending. -> (groups * group)
at::Tensor inputs_of(const std::vector<int64_t>& groups, int64_t group) {
  std::vector<int64_t> inputs;
  for (const int64_t g : groups)
    for (int64_t i = 0; i < group; ++i) inputs.push_back(g * group + i);
  return at::tensor(inputs, at::kLong);
}

}  // namespace

InputCut cut_inputs(const at::Tensor& weight, const LinearStats& stats, const CutOptions& options) {
  const int64_t groups = weight.size(1) / options.group;
  const at::Tensor old = weight.to(at::kDouble), ridge = obs::ridge(stats.gram, options.damping);
  const at::Tensor inverse = obs::inverted(stats.gram + at::diag(ridge));
  const at::Tensor best = options.refit ? towards_target(old, stats, inverse) : old;
  const std::vector<int64_t> order = obs::removal_order(best, inverse, options.group, groups - options.keep);
  InputCut cut;
  for (int64_t g = 0; g < groups; ++g)
    if (std::find(order.begin(), order.end(), g) == order.end()) cut.kept.push_back(g);
  cut.inputs = inputs_of(cut.kept, options.group);
  const at::Tensor removed = inputs_of(order, options.group);
  const at::Tensor left =
      options.refit ? obs::without_inputs(best, inverse, removed) : best.clone().index_fill_(1, removed, 0.0);
  cut.relative_error = relative_error(left, stats);
  cut.weight = left.index_select(1, cut.inputs).to(at::kFloat).contiguous();
  return cut;
}

}  // namespace attar
