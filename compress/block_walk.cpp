#include "compress/block_walk.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/zeros.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <cassert>
#include <cmath>
#include <string>
#include <utility>

#include "compress/precision.h"
#include "compress/shards.h"
#include "runtime/base/error.h"
#include "runtime/base/host/freed_memory.h"

namespace attar {
namespace {

constexpr int64_t kPanel = 256;  // columns of a part of X^T X

// sums (rows, columns) f64 += a^T b over the batches of a wave, a panel a part; each part adds in the wave's order, so
// the sums do not depend on threads. Of a symmetric product the upper panels alone.
void add_products(at::Tensor& sums, const std::vector<at::Tensor>& a, const std::vector<at::Tensor>& b, bool symmetric,
                  int threads, const std::function<void()>& between) {
  std::vector<std::pair<int64_t, int64_t>> parts;
  for (int64_t row = 0; row < sums.size(0); row += kPanel)
    for (int64_t column = symmetric ? row : 0; column < sums.size(1); column += kPanel) parts.emplace_back(row, column);
  const auto add = [&](int64_t part) {
    const auto [row, column] = parts[static_cast<size_t>(part)];
    const int64_t rows = std::min(kPanel, sums.size(0) - row), columns = std::min(kPanel, sums.size(1) - column);
    at::Tensor sum = sums.narrow(0, row, rows).narrow(1, column, columns);
    for (size_t i = 0; i < a.size(); ++i) sum += at::mm(a[i].narrow(1, row, rows).t(), b[i].narrow(1, column, columns));
  };
  run_shards(static_cast<int64_t>(parts.size()), threads, add, between);
}

// How far two streams are apart is small beside what it corrects: where the processor multiplies bf16, its products
// with the inputs round both to it, in a fraction of the time. X^T X itself, which is inverted, stays f32.
at::ScalarType drift_kind() {
  return find_precision("auto") == Precision::Bf16 ? at::kBFloat16 : at::kFloat;
}

// Fills what add_products left out of a symmetric sum.
void mirror(at::Tensor& sums) {
  for (int64_t row = 0; row < sums.size(0); row += kPanel) {
    const int64_t end = std::min(row + kPanel, sums.size(0)), rows = end - row;
    sums.narrow(0, end, sums.size(0) - end)
        .narrow(1, row, rows)
        .copy_(sums.narrow(0, row, rows).narrow(1, end, sums.size(0) - end).t());
  }
}

// Finite weights may still overflow on the way; what is measured from there on would mean nothing.
void require_finite_inputs(const LinearStats& stats, const std::string& where) {
  const bool squares = std::isfinite(stats.sum_squares.sum().item<double>());
  const bool products = !stats.gram.defined() || std::isfinite(stats.gram.diagonal().sum().item<double>());
  const bool drift = !stats.input_drift.defined() || std::isfinite(stats.input_drift.sum().item<double>());
  if (!squares || !products || !drift || !std::isfinite(stats.target_squares))
    throw input_error(where, "the model's values overflow on the calibration text", "", "",
                      "the model is damaged or its training diverged");
}

// One layer of a model as it is, to run beside the changed one.
CausalLM copy_of_layer(const CausalLM& model, int64_t layer) {
  CausalLM copy{model.config, {}};
  for (const TensorSpec& spec : tensor_specs(model.config))
    if (spec.layer == layer) copy.parameters[spec.name] = model.parameter(spec.name).detach().clone();
  return copy;
}

bool ends_half(LinearGroup group) {
  return group == LinearGroup::AttentionOutput || group == LinearGroup::Down;
}

class Walk {
 public:
  Walk(CausalLM& model, const std::vector<TokenBatch>& batches, const WalkOptions& options, const GroupVisitor& visit,
       std::function<void()> between)
      : model_(model),
        batches_(batches),
        options_(options),
        visit_(visit),
        between_(std::move(between)),
        hidden_(batches.size()) {
    whole_stream_ = static_cast<bool>(options.revise);
    for (const GroupVisit& wanted : options.visits) whole_stream_ = whole_stream_ || wanted.target || wanted.drift;
    each_batch([&](size_t b) { hidden_[b] = embed(model_, batches_[b]); });
    if (whole_stream_) start_whole();
  }

  void layer(int64_t layer) {
    if (options_.weights != nullptr) load_layer(model_, *options_.weights, layer, options_.threads);
    if (whole_stream_) whole_ = copy_of_layer(model_, layer);
    const bool finished = layer < options_.finished_layers;
    if (finished) options_.restore(layer);
    if (options_.revise && !finished) before_ = hidden_;
    for (int group = 0; group < static_cast<int>(LinearGroup::Head); ++group)
      pass(layer, LinearGroup{group}, finished ? GroupVisit::None : wanted(LinearGroup{group}).kind);
    if (options_.weights != nullptr) forget_layer(model_, layer);
  }
  void head(int64_t n_layers) {
    if (options_.weights != nullptr) load_tensor(model_, *options_.weights, Role::OutputNorm, options_.threads);
    if (whole_stream_) {
      const std::string norm = tensor_name(0, Role::OutputNorm);
      whole_.parameters[norm] = model_.parameter(norm);
    }
    pass(n_layers, LinearGroup::Head, wanted(LinearGroup::Head).kind);
  }
  // Visits the group where it is asked for, and leaves the streams behind the half that it ends.
  void pass(int64_t layer, LinearGroup group, GroupVisit::Kind kind) {
    if (kind != GroupVisit::None) visit_(layer, group, collect(layer, group));
    if (!ends_half(group) || kind == GroupVisit::Look) return;
    if (group == LinearGroup::Down && kind == GroupVisit::Change && !before_.empty()) return revise(layer);
    each_batch([&](size_t b) {
      advance(layer, group, b);
      if (kind == GroupVisit::None && whole_stream_) advance_whole(layer, group, b);
    });
    kept_inputs_.clear();
  }

 private:
  // What a wave of batches gives a group, loud tokens turned down: (N, in), and of the full-precision stream what the
  // linear gives, (N, out), and how far its inputs and hidden states are from these, (N, in) and (N, C).
  struct Seen {
    std::vector<at::Tensor> inputs, outputs, input_drifts, stream_drifts;
    explicit Seen(size_t n) : inputs(n), outputs(n), input_drifts(n), stream_drifts(n) {}
  };

  void start_whole() {
    whole_hidden_ = hidden_;
    if (!options_.whole_embedding.defined()) return;
    CausalLM start{model_.config, {}};
    start.parameters[tensor_name(0, Role::Embedding)] = options_.whole_embedding;
    each_batch([&](size_t b) { whole_hidden_[b] = embed(start, batches_[b]); });
  }
  const GroupVisit& wanted(LinearGroup group) const { return options_.visits[static_cast<size_t>(group)]; }
  void each_batch(const std::function<void(size_t)>& work) const {
    run_shards(
        static_cast<int64_t>(batches_.size()), options_.threads, [&](int64_t b) { work(static_cast<size_t>(b)); },
        between_);
  }
  // The layer is changed as a whole, so both of its halves are gone through anew.
  void revise(int64_t layer) {
    hidden_ = std::exchange(before_, {});
    options_.revise(layer, {whole_, batches_, hidden_, whole_hidden_});
    each_batch([&](size_t b) { hidden_[b] = forward_block(model_, layer, hidden_[b], batches_[b]); });
  }
  void advance(int64_t layer, LinearGroup group, size_t b) {
    const at::Tensor input = b < kept_inputs_.size() ? std::exchange(kept_inputs_[b], {})
                                                     : group_input(model_, layer, group, batches_[b], hidden_[b]);
    hidden_[b] = add_output(model_, layer, group, hidden_[b], group_output(model_, layer, group, input));
  }
  // Of how many batches the group's inputs stay until it is left.
  size_t kept_batches(int64_t layer, LinearGroup group) const {
    if (!ends_half(group) || !wanted(group).keeps_inputs) return 0;
    if (group == LinearGroup::Down && !before_.empty()) return 0;
    const int64_t inputs = model_.block_parameter(layer, group_roles(model_.config, group).front()).size(1);
    int64_t room = kKeptInputBytes / (inputs * static_cast<int64_t>(sizeof(float)));  // for tokens
    size_t count = 0;
    while (count < batches_.size() && (room -= batches_[count].tokens.size(0)) >= 0) ++count;
    return count;
  }
  void advance_whole(int64_t layer, LinearGroup group, size_t b) {
    const at::Tensor input = group_input(whole_, layer, group, batches_[b], whole_hidden_[b]);
    whole_hidden_[b] = add_output(whole_, layer, group, whole_hidden_[b], group_output(whole_, layer, group, input));
  }

  LinearStats collect(int64_t layer, LinearGroup group) {
    LinearStats stats;
    kept_inputs_.resize(kept_batches(layer, group));
    const auto wave = static_cast<size_t>(kWaveBatches * options_.threads);  // which changes no sum's order
    for (size_t begin = 0; begin < batches_.size(); begin += wave) {
      const size_t count = std::min(wave, batches_.size() - begin);
      Seen seen(count);
      const auto measure_one = [&](int64_t i) {
        measure(layer, group, begin + static_cast<size_t>(i), static_cast<size_t>(i), seen);
      };
      run_shards(static_cast<int64_t>(count), options_.threads, measure_one, between_);
      add_wave(stats, wanted(group), seen);
    }
    if (stats.gram.defined()) mirror(stats.gram);
    require_finite_inputs(stats, group == LinearGroup::Head ? "the head" : "layer " + std::to_string(layer));
    return stats;
  }
  void measure(int64_t layer, LinearGroup group, size_t b, size_t place, Seen& seen) {
    at::Tensor& input = seen.inputs[place];
    input = group_input(model_, layer, group, batches_[b], hidden_[b]);
    const at::Tensor factors = loudness_factors(input);
    if (whole_stream_) measure_whole(layer, group, b, factors, input, place, seen);
    if (ends_half(group) && wanted(group).kind == GroupVisit::Look)
      hidden_[b] = add_output(model_, layer, group, hidden_[b], group_output(model_, layer, group, input));
    if (b < kept_inputs_.size()) kept_inputs_[b] = input;
    input = input * factors;
  }
  void measure_whole(int64_t layer, LinearGroup group, size_t b, const at::Tensor& factors, const at::Tensor& input,
                     size_t place, Seen& seen) {
    const bool drift = wanted(group).drift;
    if (!drift && !ends_half(group)) return;
    const at::Tensor whole = group_input(whole_, layer, group, batches_[b], whole_hidden_[b]);
    if (drift) seen.input_drifts[place] = ((whole - input) * factors).to(drift_kind());
    if (!ends_half(group)) return;
    if (drift && !traits(model_.config.family).sandwich_norms)
      seen.stream_drifts[place] = ((whole_hidden_[b] - hidden_[b]) * factors).to(drift_kind());
    const at::Tensor output = group_output(whole_, layer, group, whole);
    whole_hidden_[b] = add_output(whole_, layer, group, whole_hidden_[b], output);
    if (wanted(group).target) seen.outputs[place] = output * factors;
  }
  void add_wave(LinearStats& stats, const GroupVisit& asked, const Seen& seen) const {
    const std::vector<at::Tensor>& inputs = seen.inputs;
    const int64_t in = inputs[0].size(1);
    if (!stats.sum_squares.defined()) stats.sum_squares = at::zeros({in}, at::kDouble);
    for (size_t i = 0; i < inputs.size(); ++i) {
      stats.tokens += inputs[i].size(0);
      stats.sum_squares += inputs[i].square().sum(at::IntArrayRef{0}, false, at::kDouble);
      if (asked.target) stats.target_squares += seen.outputs[i].square().sum(at::kDouble).item<double>();
    }
    const auto add = [&](at::Tensor& sums, const std::vector<at::Tensor>& by, const std::vector<at::Tensor>& x) {
      if (!sums.defined()) sums = at::zeros({by[0].size(1), in}, at::kDouble);
      add_products(sums, by, x, &by == &inputs, options_.threads, between_);
    };
    if (asked.gram) add(stats.gram, inputs, inputs);
    if (asked.target) add(stats.target, seen.outputs, inputs);
    if (!asked.drift) return;
    std::vector<at::Tensor> beside;
    for (const at::Tensor& input : inputs) beside.push_back(input.to(drift_kind()));
    add(stats.input_drift, seen.input_drifts, beside);
    if (seen.stream_drifts[0].defined()) add(stats.stream_drift, seen.stream_drifts, beside);
  }

  CausalLM& model_;
  const std::vector<TokenBatch>& batches_;
  const WalkOptions& options_;
  const GroupVisitor& visit_;
  const std::function<void()> between_;
  std::vector<at::Tensor> hidden_;       // a batch each, (N, C)
  std::vector<at::Tensor> before_;       // the same in front of a layer that is to be revised
  std::vector<at::Tensor> kept_inputs_;  // of the group that is visited and the first batches, (N, in)
  // The full-precision stream: the model as the walk found it, a layer at a time.
  bool whole_stream_ = false;
  CausalLM whole_;
  std::vector<at::Tensor> whole_hidden_;  // (N, C)
};

}  // namespace

at::Tensor loudness_factors(const at::Tensor& x) {
  const at::Tensor norms = at::linalg_vector_norm(x, 2, at::IntArrayRef{1}, true, at::kDouble);
  const at::Tensor limit = std::sqrt(kLoudest) * norms.median();
  return at::where(norms.gt(limit).logical_and(limit.gt(0.0)), limit / norms, 1.0).to(at::kFloat);
}

void walk_blocks(CausalLM& model, const std::vector<TokenBatch>& calibration, const WalkOptions& options,
                 const GroupVisitor& visit, std::string_view stage, const Progress& progress) {
  const OwnKernels own_kernels;
  const c10::NoGradGuard no_grad;
  const int64_t n_layers = model.config.n_layers();
  Event now{.stage = stage, .unit = "layers", .done = 0, .total = n_layers + 1};
  Walk walk(model, calibration, options, visit, [&] { report(progress, now); });
  for (int64_t layer = 0; layer < n_layers; ++layer) {
    walk.layer(layer);
    now.done = layer + 1;
    report(progress, now);
  }
  walk.head(n_layers);
  give_back_freed_memory();
  now.done = n_layers + 1;
  report(progress, now);
}

}  // namespace attar
