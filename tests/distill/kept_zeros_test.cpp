#include "distill/parts/kept_zeros.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/ne.h>
#include <gtest/gtest.h>

#include <bit>
#include <cstdint>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "distill/parts/lora.h"
#include "runtime/base/error.h"
#include "runtime/base/random.h"
#include "tests/compress/normal_tensor.h"
#include "tests/distill/tiny_training.h"
#include "tests/test_folder.h"

namespace attar {
namespace {

void make_sparse(at::Tensor& weights, uint64_t stream) {
  const CounterRandom random(11, stream);
  for (int64_t i = 0; i < weights.numel(); ++i)
    if (random.uniform(static_cast<uint64_t>(i)) < 0.5) weights.data_ptr<float>()[i] = 0.0f;
}

// Half of the weights of every matrix of the layers are 0.
CausalLM sparse_model() {
  CausalLM model = CausalLM::random(tiny_config(Family::Llama), 1);
  uint64_t stream = 0;
  for (const TensorSpec& spec : tensor_specs(model.config))
    if (spec.is_matrix() && spec.layer >= 0) make_sparse(model.parameters.at(spec.name), ++stream);
  return model;
}

class KeptZerosTest : public testing::Test {
 protected:
  static DistillOptions keeping() {
    DistillOptions options = quick(1500);
    options.keep_zeros = true, options.checkpoint_every_steps = 0;
    return options;
  }
  CausalLM trained(const DistillOptions& options, int threads = 2, bool resume = false, const Progress& progress = {}) {
    CausalLM student = start_.clone();
    const TrainInputs inputs{.student_to_teacher = {},
                             .data = &data_,
                             .checkpoint_directory = own_ / "checkpoints",
                             .resume = resume,
                             .seed = 3,
                             .threads = threads};
    result_ = train(student, byte_tokenizer(), inputs, options, progress);
    return student;
  }
  // Where the start has a 0, the bits of a 0.
  void expect_zeros_of_the_start(const CausalLM& student, const std::string& what) const {
    for (const auto& [name, before] : start_.parameters) {
      const float *x = before.const_data_ptr<float>(), *y = student.parameters.at(name).const_data_ptr<float>();
      int64_t lost = 0;
      for (int64_t i = 0; i < before.numel(); ++i)
        if (x[i] == 0.0f && std::bit_cast<uint32_t>(y[i]) != 0) ++lost;
      EXPECT_EQ(lost, 0) << what << ": " << name;
    }
  }

  const CausalLM start_ = sparse_model();
  const TokenDataset data_ = countable(40);
  const TestFolder own_{"kept_zeros"};
  TrainResult result_;
};

// More weights than one stretch has, and not whole ones.
TEST_F(KeptZerosTest, WeightsAndGradientsLieUnderTheMask) {
  const std::string name = "blk.0.ffn_up.weight";
  at::Tensor weights = normal(301, 517, 1).to(at::kFloat);
  make_sparse(weights, 50);
  const at::Tensor mask = weights.ne(0).to(at::kFloat);
  CausalLM student = start_.clone();
  student.parameters[name] = weights.clone();
  const Reparameterizations parts = trained_parts(student, keeping(), 7);
  EXPECT_FALSE(parts.contains("token_embd.weight")) << "it has no zeros";
  EXPECT_FALSE(parts.contains("blk.0.attn_norm.weight"));
  const NamedTensors& own = parts.at(name).parameters;
  EXPECT_TRUE(at::equal(own.at("latent"), weights));
  own.at("latent").add_(1.0);  // also where no gradient would move it, as Muon's steps do
  for (const int threads : {1, 2}) {
    student.parameters.at(name).fill_(3.0);
    make_effective(parts, student, threads);
    EXPECT_TRUE(at::equal(student.parameters.at(name), (weights + 1.0) * mask));
    const at::Tensor gradient = normal(301, 517, 2).to(at::kFloat);
    const NamedTensors pulled = parts.at(name).pull_back(own, gradient.clone(), threads);
    EXPECT_TRUE(at::equal(pulled.at("latent"), gradient * mask));
  }
}

TEST_F(KeptZerosTest, AdaptersLieUnderTheMaskToo) {
  const std::string name = "blk.1.ffn_down.weight";
  CausalLM student = start_.clone();
  DistillOptions options = keeping(), without = options;
  options.lora_rank = without.lora_rank = 3, without.keep_zeros = false;
  const Reparameterizations masked = trained_parts(student, options, 7), plain = trained_parts(student, without, 7);
  const at::Tensor mask = student.parameters.at(name).ne(0).to(at::kFloat);
  const at::Tensor b = normal(mask.size(0), 3, 5).to(at::kFloat),
                   gradient = normal(mask.size(0), mask.size(1), 6).to(at::kFloat);
  for (const Reparameterizations* parts : {&masked, &plain}) parts->at(name).parameters.at("lora_b").copy_(b);
  CausalLM other = start_.clone();
  make_effective(masked, student, 2);
  make_effective(plain, other, 2);
  EXPECT_TRUE(at::equal(student.parameters.at(name), other.parameters.at(name) * mask));
  const NamedTensors pulled = masked.at(name).pull_back(masked.at(name).parameters, gradient.clone(), 2),
                     expected = plain.at(name).pull_back(plain.at(name).parameters, gradient * mask, 2);
  for (const char* factor : {"lora_a", "lora_b"}) EXPECT_TRUE(at::equal(pulled.at(factor), expected.at(factor)));
}

TEST_F(KeptZerosTest, StayWhateverMovesTheWeights) {
  DistillOptions muon = keeping(), adapters = keeping(), averaged = keeping(), decayed = keeping();
  muon.optimizer = "muon", muon.weight_decay = 0.1;
  adapters.lora_rank = 3, adapters.lora_alpha = 6.0, adapters.learning_rate = 0.02;
  averaged.ema = 0.9;
  decayed.weight_decay = 0.1;
  for (const auto& [what, options] : std::vector<std::pair<std::string, DistillOptions>>{
           {"AdamW", decayed}, {"Muon", muon}, {"adapters", adapters}, {"average", averaged}}) {
    const CausalLM student = trained(options);
    expect_zeros_of_the_start(student, what);
    EXPECT_LT(result_.history.back().loss, result_.history.front().loss) << what;
    ASSERT_TRUE(result_.zero_share.has_value());
    EXPECT_DOUBLE_EQ(*result_.zero_share, zero_share(start_)) << what;
    EXPECT_FALSE(at::equal(student.parameters.at("blk.0.ffn_up.weight"), start_.parameters.at("blk.0.ffn_up.weight")));
    EXPECT_TRUE(same(student, trained(options, 1))) << what << ": other bits by one thread";
  }
  const CausalLM filled = trained(quick(500));
  EXPECT_LT(zero_share(filled), zero_share(start_)) << "who does not ask for it gets all weights back";
  EXPECT_FALSE(result_.zero_share.has_value());
}

TEST_F(KeptZerosTest, ATrainingGoesOnWhereItStopped) {
  for (const char* optimizer : {"adamw", "muon"}) {
    DistillOptions options = keeping();
    options.optimizer = optimizer;
    const CausalLM whole = trained(options);
    EXPECT_THROW(trained(options, 2, false, [](const Event& e) { return e.done > 700 ? Flow::Stop : Flow::GoOn; }),
                 Error);
    EXPECT_TRUE(same(whole, trained(options, 1, true))) << optimizer;
    std::filesystem::remove_all(own_ / "checkpoints");
  }
}

TEST_F(KeptZerosTest, WhatIsFrozenStaysAndADenseStudentIsRefused) {
  DistillOptions options = keeping();
  options.frozen = {"down"};
  const Reparameterizations parts = trained_parts(start_, options, 7);
  EXPECT_TRUE(parts.at("blk.0.ffn_down.weight").frozen());
  EXPECT_FALSE(parts.at("blk.0.ffn_up.weight").frozen());
  const CausalLM dense = CausalLM::random(tiny_config(Family::Llama), 1);
  EXPECT_EQ(zero_share(dense), 0.0);
  EXPECT_THROW(trained_parts(dense, options, 7), Error);
}

}  // namespace
}  // namespace attar
