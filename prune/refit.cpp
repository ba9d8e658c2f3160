#include "prune/refit.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/diag.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/tensor.h>

#include <algorithm>

#include "compress/obs.h"

namespace attar {
namespace {

// What a linear should give.
struct Target {
  at::Tensor products;  // (out, in) f64: Y^T X
  double squares = 0;   // sum of Y^2
};

// weight (out, in) f64 with zeros for what is gone
double relative_error(const at::Tensor& weight, const at::Tensor& gram, const Target& target) {
  if (target.squares <= 0.0) return 0.0;
  const at::Tensor difference = at::mm(weight, gram) - 2.0 * target.products;
  return std::max(0.0, 1.0 + (difference * weight).sum().item<double>() / target.squares);
}

// The weight on all inputs that gives the target best, as far as the tokens tell. own: what the weight gives by itself.
// What is missing, Y - X W^T, is mostly the noise of the cuts before, and a fit of `in` weights to few tokens explains
// in / tokens of any noise; so the step is shortened by the share that chance explains (James and Stein 1961).
at::Tensor towards_target(const at::Tensor& weight, const Target& target, const Target& own, const at::Tensor& inverse,
                          int64_t n_tokens) {
  const at::Tensor missing = target.products - own.products, step = at::mm(missing, inverse);  // (out, in)
  const double explained = (step * missing).sum().item<double>(),
               crossed = (target.products * weight).sum().item<double>(),
               left = target.squares - 2.0 * crossed + own.squares - explained;
  const auto inputs = static_cast<double>(weight.size(1)), tokens = static_cast<double>(n_tokens);
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
  const at::Tensor given = at::mm(old, stats.gram);
  const Target own{given, (given * old).sum().item<double>()};
  const Target target = stats.target.defined() ? Target{stats.target, stats.target_squares} : own;
  const bool aims = options.refit && stats.target.defined();
  const at::Tensor best = aims ? towards_target(old, target, own, inverse, stats.tokens) : old;
  const std::vector<int64_t> order = obs::removal_order(best, inverse, options.group, groups - options.keep);
  InputCut cut;
  for (int64_t g = 0; g < groups; ++g)
    if (std::find(order.begin(), order.end(), g) == order.end()) cut.kept.push_back(g);
  cut.inputs = inputs_of(cut.kept, options.group);
  const at::Tensor removed = inputs_of(order, options.group);
  const at::Tensor left =
      options.refit ? obs::without_inputs(best, inverse, removed) : best.clone().index_fill_(1, removed, 0.0);
  cut.relative_error = relative_error(left, stats.gram, target);
  cut.weight = left.index_select(1, cut.inputs).to(at::kFloat).contiguous();
  return cut;
}

}  // namespace attar
