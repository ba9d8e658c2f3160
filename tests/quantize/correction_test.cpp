#include "quantize/correction.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/linalg_inv.h>
#include <ATen/ops/mm.h>
#include <gtest/gtest.h>

#include "compress/reparameterization.h"
#include "quantize/quantize.h"
#include "quantize/tensor_codes.h"
#include "tests/compress/normal_tensor.h"
#include "tests/compress/uneven_model.h"

namespace attar {
namespace {

constexpr int64_t kIn = 48, kOut = 20, kTokens = 4000;

// Inputs that have drifted: those of the model as it was, mixed a little among themselves, with noise.
struct Drifted {
  at::Tensor whole, inputs, owed;  // (N, in), (N, in), (N, out)

  explicit Drifted(uint64_t seed)
      : whole(at::mm(normal(kTokens, 12, seed), normal(12, kIn, 1)) + normal(kTokens, kIn, seed + 1)),
        inputs(whole + 0.1 * at::mm(whole, normal(kIn, kIn, 2)) / 7.0 + 0.05 * normal(kTokens, kIn, seed + 2)),
        owed(0.3 * at::mm(whole, normal(kIn, kOut, 3)) / 7.0) {}
  LinearStats stats() const {
    LinearStats out{.tokens = kTokens, .sum_squares = {}, .gram = at::mm(inputs.t(), inputs), .target = {}};
    out.input_drift = at::mm((whole - inputs).t(), inputs);
    out.stream_drift = at::mm(owed.t(), inputs);
    return out;
  }
  // How far the linear and the stream together are from the model as it was.
  double error(const at::Tensor& weights, const at::Tensor& original) const {
    return (at::mm(whole, original.t()) + owed - at::mm(inputs, weights.to(at::kDouble).t()))
        .square()
        .sum()
        .item<double>();
  }
};

TEST(Correction, IsWhatItsDefinitionSays) {
  const LinearStats stats = Drifted(5).stats();
  const at::Tensor weights = normal(kOut, kIn, 9);
  at::Tensor damped = stats.gram.clone();
  damped.diagonal().mul_(1.5);
  const at::Tensor by = at::mm(weights, stats.input_drift) + stats.stream_drift,
                   expected = weights + 0.5 * at::mm(by, at::linalg_inv(damped));
  const Correction correction = correction_of(stats, 2);
  for (const auto& [first, count] : {std::pair<int64_t, int64_t>{0, kOut}, {7, 5}}) {
    at::Tensor rows = weights.narrow(0, first, count).to(at::kFloat).contiguous();
    correction.add_to(rows, first);
    EXPECT_LT((rows - expected.narrow(0, first, count)).abs().max().item<double>(), 1e-5);
  }
}

TEST(Correction, TakesBackWhatOtherTextHasLost) {
  const Drifted text(5), other(55);
  const at::Tensor weights = normal(kOut, kIn, 9);
  at::Tensor corrected = weights.to(at::kFloat).contiguous();
  correction_of(text.stats(), 1).add_to(corrected, 0);
  EXPECT_LT(other.error(corrected, weights), 0.5 * other.error(weights, weights));
}

TEST(Correction, WithoutDriftIsNothing) {
  LinearStats stats = Drifted(5).stats();
  stats.input_drift = stats.stream_drift = at::Tensor();
  const at::Tensor weights = normal(kOut, kIn, 9).to(at::kFloat), rows = weights.clone();
  correction_of(stats, 1).add_to(rows, 0);
  EXPECT_TRUE(rows.equal(weights));
}

// A gate that is all but shut leaves an input of next to no energy, of which f32 may not even hold the inverse.
TEST(Correction, AnInputThatIsNextToDeadSpoilsNothing) {
  const Drifted text(5);
  const at::Tensor weights = normal(kOut, kIn, 9);
  const auto corrected = [&](double loudness) {
    at::Tensor inputs = text.inputs.clone(), whole = text.whole.clone();
    inputs.narrow(1, 3, 1).mul_(loudness), whole.narrow(1, 3, 1).mul_(loudness);
    LinearStats stats{.tokens = kTokens, .sum_squares = {}, .gram = at::mm(inputs.t(), inputs), .target = {}};
    stats.input_drift = at::mm((whole - inputs).t(), inputs);
    at::Tensor rows = weights.to(at::kFloat).contiguous();
    correction_of(stats, 1).add_to(rows, 0);
    return rows;
  };
  for (const double loudness : {1e-5, 1e-10, 1e-21})  // weights are within 5; 1e-5 gave thousands
    EXPECT_LT(corrected(loudness).abs().max().item<double>(), 20.0) << loudness;
  EXPECT_LT((corrected(1e-21) - corrected(0.0)).abs().max().item<double>(), 1e-5);
}

// Random tokens, so that the inputs have few directions of their own.
std::vector<TokenBatch> random_text(const ModelConfig& config, int documents, uint64_t seed) {
  TokenDataset data = uneven_text(documents, 60);
  const CounterRandom random(seed);
  uint64_t drawn = 0;
  for (TokenDocument& document : data.documents)
    for (int32_t& token : document.tokens)
      token = static_cast<int32_t>(random.uniform(drawn++) * static_cast<double>(config.vocab_size));
  return calibration_batches(config, data, 1 << 20);
}

// How far the hidden states behind all blocks are from the model's own, where the blocks' matrices are these.
double lost(const CausalLM& model, const NamedTensors& blocks, const std::vector<TokenBatch>& text) {
  CausalLM changed = model;
  for (const auto& [name, values] : blocks) changed.parameters[name] = values;
  double sum = 0;
  for (const TokenBatch& batch : text)
    sum += (forward_hidden(changed, batch) - forward_hidden(model, batch)).square().sum().item<double>();
  return sum;
}

// The same walk and feedback, with nothing else to aim at.
NamedTensors without_correction(const CausalLM& model, const QuantizePlan& plan, const std::vector<TokenBatch>& text) {
  CausalLM changed = model;
  WalkOptions options;
  for (GroupVisit& group : options.visits) group = {.kind = GroupVisit::Change, .gram = true};
  NamedTensors blocks;
  const auto visit = [&](int64_t layer, LinearGroup group, const LinearStats& stats) {
    const gptq::InputHessian inputs = gptq::input_hessian(stats.gram, stats.tokens);
    const std::vector<float> even(static_cast<size_t>(stats.gram.size(0)), 1.0f);
    for (const Role role : group_roles(model.config, group)) {
      if (group == LinearGroup::Head) continue;
      const std::string name = tensor_name(layer, role);
      for (const PlannedTensor& planned : plan.tensors)
        if (planned.spec.name == name) encode_with_feedback(model, planned, {inputs, even, {}}, 1, &blocks[name]);
      changed.parameters[name] = blocks.at(name);
    }
  };
  walk_blocks(changed, text, options, visit, "test");
  return blocks;
}

// What two bits lose on other text.
struct Losses {
  double corrected, plain;
};
Losses losses_of(Family family) {
  ModelConfig config = uneven_config(family, false);
  config.width = 64;
  config.layers.assign(4, {LayerKind::FullAttention, 4, 2, 16, 128});
  const CausalLM model = CausalLM::random(config, 3);
  QuantizeOptions options;
  options.to = "Q2_0";
  const QuantizePlan plan = plan_quantization(config, options, {});
  const std::vector<TokenBatch> text = random_text(config, 40, 1), other = random_text(config, 10, 2);
  const QuantizedModel quantized = quantize_with_feedback(model, plan, {.batches = text}, 2);
  const NamedTensors without = without_correction(model, plan, text);
  NamedTensors with;
  for (const auto& [name, values] : without) with[name] = decoded(quantized.tensors.at(name), 1);
  return {lost(model, with, other), lost(model, without, other)};
}

TEST(Correction, OfAWholeWalkLosesLessOnOtherText) {
  const auto [corrected, plain] = losses_of(Family::Llama);
  EXPECT_LT(corrected, 0.9 * plain) << corrected << " beside " << plain;
}

// A norm stands between a linear of gemma3 and the stream: here it makes what the linear gives some 16 times as large,
// so that the stream's own drift would drown it.
TEST(Correction, OfSandwichNormsDoesNoHarm) {
  const auto [corrected, plain] = losses_of(Family::Gemma3);
  EXPECT_LT(corrected, 1.05 * plain) << corrected << " beside " << plain;
}

}  // namespace
}  // namespace attar
