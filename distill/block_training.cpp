#include "distill/block_training.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros_like.h>
#include <c10/core/GradMode.h>

#include <cmath>
#include <numeric>
#include <utility>

#include "compress/block_walk.h"
#include "distill/optimizer/adamw.h"
#include "distill/pass/training_pass.h"
#include "runtime/base/random.h"

namespace attar {
namespace {

constexpr size_t kJudgeEvery = 8;   // of so many examples one judges
constexpr int64_t kJudgements = 8;  // behind the start, at most

// Which examples are learned from, and which judge. One alone does both.
struct ExampleSplit {
  std::vector<size_t> learned, judging;
  explicit ExampleSplit(size_t n) {
    for (size_t i = 0; i < n; ++i) {
      const bool judges = i % kJudgeEvery == kJudgeEvery - 1 || (n < kJudgeEvery && i == n - 1);
      (judges ? judging : learned).push_back(i);
    }
    if (learned.empty()) learned = judging;
  }
};

// (C) f32, 1 in the mean; where none counts, all alike
at::Tensor channel_weights(const BlockExamples& examples, int64_t width) {
  const double mean = examples.channels.defined() ? examples.channels.mean().item<double>() : 0.0;
  if (mean <= 0.0) return at::ones({width}, at::kFloat);
  return (examples.channels / mean).to(at::kFloat).contiguous();
}

class BlockTrainer {
 public:
  BlockTrainer(CausalLM& block, Reparameterizations& parameters, const BlockExamples& examples,
               const BlockTrainingOptions& options, const std::function<void()>& between)
      : block_(block),
        parameters_(parameters),
        examples_(examples.of),
        options_(options),
        between_(between),
        split_(examples.of.size()),
        next_(split_.learned.size()),
        trained_(trained_tensors({}, parameters)),
        settings_{.learning_rate = 0.0,
                  .beta1 = 0.9,
                  .beta2 = 0.95,
                  .epsilon = 1e-8,
                  .weight_decay = 0.0,
                  .learning_rate_ratios = learning_rate_ratios(parameters)},
        team_(options.threads),
        weights_(block, options.precision, team_),
        exact_(block, Precision::Fp32, team_),
        pass_(weights_, team_, Keeps::All),
        judging_(exact_, team_, Keeps::Nothing) {
    for (const auto& [name, own] : parameters)
      if (!own.frozen()) gradients_[name] = at::zeros_like(block.parameter(name));
    const at::Tensor channels = channel_weights(examples, block.config.width);
    for (const BlockExample& example : examples_) {
      targets_.push_back({example.wanted, loudness_factors(example.wanted).square().flatten(), channels});
      energies_.push_back(output_error(team_, at::zeros_like(example.wanted), targets_.back()));
    }
  }

  BlockTrainingResult run() {
    show();
    BlockTrainingResult out{.before = judge()};
    out.after = out.before;
    if (trained_.empty() || !std::isfinite(out.before) || out.before <= 0.0) return out;
    NamedTensors best = copies();
    const int64_t steps = options_.steps;
    for (int64_t s = 0; s < steps; ++s) {
      const double left = static_cast<double>(steps - s) / static_cast<double>(steps);
      step(2.0 * options_.travel / (static_cast<double>(steps) + 1.0) * left, out.before);
      if ((s + 1) * kJudgements / steps == s * kJudgements / steps) continue;
      if (const double error = judge(); error < out.after) out.after = error, best = copies();
    }
    for (auto& [name, tensor] : trained_) tensor.copy_(best.at(name));
    show();
    return out;
  }

 private:
  NamedTensors copies() const {
    NamedTensors out;
    for (const auto& [name, tensor] : trained_) out[name] = tensor.clone();
    return out;
  }
  // The block computes with what its parameters stand for.
  void show() {
    make_effective(parameters_, block_, options_.threads);
    weights_.refresh(team_), exact_.refresh(team_);
  }
  at::Tensor outputs_of(size_t example, TrainingPass& pass) const {
    return pass.forward_layers(examples_[example].batch, examples_[example].given);
  }
  double energy_of(const std::vector<size_t>& examples) const {
    double sum = 0.0;
    for (const size_t e : examples) sum += energies_[e];
    return sum;
  }
  // In f32 whatever it learns in: a block of many bits loses less than bf16 does.
  double judge() {
    double error = 0.0;
    for (const size_t e : split_.judging) {
      if (between_) between_();
      error += output_error(team_, outputs_of(e, judging_), targets_[e]);
    }
    const double energy = energy_of(split_.judging);
    return energy > 0.0 ? error / energy : 0.0;
  }

  // The loss is 1 at the start, so that epsilon is as small beside every block's gradients.
  void step(double rate, double start) {
    if (between_) between_();
    for (auto& [name, gradient] : gradients_) gradient.zero_();
    const std::vector<size_t> batch = next_batch();
    const double energy = energy_of(batch), scale = energy > 0.0 ? 1.0 / (energy * start) : 0.0;
    for (const size_t e : batch) {
      const at::Tensor outputs = outputs_of(e, pass_);
      output_error(team_, outputs, targets_[e], scale, outputs);
      pass_.backward_layers(outputs, gradients_);
    }
    NamedTensors by_parameters = gradients_;
    pull_back(parameters_, by_parameters, options_.threads);
    settings_.learning_rate = rate;
    adamw_step(trained_, by_parameters, moments_, settings_, 1.0, options_.threads);
    show();
  }
  // As near to a step's tokens as whole examples come, one at least.
  std::vector<size_t> next_batch() {
    std::vector<size_t> batch;
    for (int64_t tokens = 0; batch.size() < split_.learned.size(); ++next_) {
      const int64_t more = examples_[next_example()].given.size(0);
      if (!batch.empty() && tokens + more / 2 > options_.batch_tokens) break;
      batch.push_back(next_example());
      tokens += more;
    }
    return batch;
  }
  // That at next_; in another order each time around.
  size_t next_example() {
    std::vector<size_t>& order = split_.learned;
    if (next_ == order.size()) {
      const CounterRandom random(options_.seed, rounds_++);
      for (size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[random.below(i, i)]);
      next_ = 0;
    }
    return order[next_];
  }

  CausalLM& block_;
  Reparameterizations& parameters_;
  const std::vector<BlockExample>& examples_;
  const BlockTrainingOptions& options_;
  const std::function<void()>& between_;
  ExampleSplit split_;
  size_t next_;  // of split_.learned; its size: another round begins
  uint64_t rounds_ = 0;
  NamedTensors trained_, gradients_;  // by parameter; by tensor of the block
  AdamWSettings settings_;
  AdamWState moments_;
  Team team_;
  PassWeights weights_, exact_;
  TrainingPass pass_, judging_;
  std::vector<OutputTarget> targets_;  // of each example
  std::vector<double> energies_;
};

}  // namespace

BlockTrainingResult train_block(CausalLM& block, Reparameterizations& parameters, const BlockExamples& examples,
                                const BlockTrainingOptions& options, const std::function<void()>& between) {
  const OwnKernels own_kernels;
  const c10::NoGradGuard no_grad;  // gradients are made here, by hand
  return BlockTrainer(block, parameters, examples, options, between).run();
}

double output_error(Team& team, const at::Tensor& outputs, const OutputTarget& target, double scale,
                    const at::Tensor& by_outputs) {
  const int64_t n = outputs.size(0), width = outputs.size(1);
  const auto *y = outputs.const_data_ptr<float>(), *wanted = target.wanted.const_data_ptr<float>(),
             *tokens = target.tokens.const_data_ptr<float>(), *channels = target.channels.const_data_ptr<float>();
  auto* gradient = by_outputs.defined() ? by_outputs.mutable_data_ptr<float>() : nullptr;
  std::vector<double> errors(static_cast<size_t>(n));
  team.rows(n, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const auto slope = static_cast<float>(2.0 * scale) * tokens[r];
      double sum = 0.0;
      for (int64_t i = r * width; i < (r + 1) * width; ++i) {
        const float off = y[i] - wanted[i], weighted = channels[i - r * width] * off;
        sum += static_cast<double>(weighted) * static_cast<double>(off);
        if (gradient != nullptr) gradient[i] = slope * weighted;
      }
      errors[static_cast<size_t>(r)] = static_cast<double>(tokens[r]) * sum;
    }
  });
  return std::accumulate(errors.begin(), errors.end(), 0.0);
}

}  // namespace attar
