#include "distill/parts/lora.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/mm.h>
#include <gtest/gtest.h>

#include "runtime/base/error.h"
#include "tests/compress/normal_tensor.h"
#include "tests/distill/tiny_training.h"
#include "tests/test_folder.h"

namespace attar {
namespace {

CausalLM model() {
  return CausalLM::random(tiny_config(Family::Llama), 1);
}
at::Tensor floats(int64_t rows, int64_t columns, uint64_t seed) {
  return normal(rows, columns, seed).to(at::kFloat);
}

class LoraTest : public testing::Test {
 protected:
  static DistillOptions lora() {
    DistillOptions options = quick(2000);
    options.lora_rank = 3, options.lora_alpha = 6.0;
    return options;
  }
  CausalLM trained(const DistillOptions& options, bool resume = false, const Progress& progress = {}) {
    CausalLM student = model();
    const TrainInputs inputs{.student_to_teacher = {},
                             .data = &data_,
                             .checkpoint_directory = own_ / "checkpoints",
                             .resume = resume,
                             .seed = 3};
    result_ = train(student, byte_tokenizer(), inputs, options, progress);
    return student;
  }
  const TokenDataset data_ = countable(40);
  const TestFolder own_{"lora"};
  TrainResult result_;
};

TEST_F(LoraTest, StandsForTheWeightsPlusAScaledProduct) {
  CausalLM student = model();
  const DistillOptions options = lora();
  Reparameterizations parts = trained_parts(student, options, 7);
  EXPECT_TRUE(parts.at("token_embd.weight").frozen());
  EXPECT_TRUE(parts.at("blk.0.attn_norm.weight").frozen());
  const std::string name = "blk.1.ffn_down.weight";
  const at::Tensor before = student.parameters.at(name).detach().clone();
  make_effective(parts, student, 2);
  EXPECT_TRUE(at::equal(student.parameters.at(name), before));  // B is 0
  NamedTensors& own = parts.at(name).parameters;
  EXPECT_EQ(own.at("lora_a").size(0), 3);
  EXPECT_GT(own.at("lora_a").abs().max().item<float>(), 0.0f);
  own.at("lora_b").copy_(floats(before.size(0), 3, 5));
  make_effective(parts, student, 2);
  const at::Tensor expected = before + at::mm(own.at("lora_b"), own.at("lora_a")) * 2.0;
  EXPECT_LT((student.parameters.at(name) - expected).abs().max().item<float>(), 1e-5f);
}

// d sum(G * W(A, B)) / dA and dB, over more rows and columns than one block has.
TEST_F(LoraTest, PullsGradientsBackToItsFactors) {
  CausalLM student = model();
  const std::string name = "blk.0.ffn_up.weight";
  student.parameters[name] = floats(300, 517, 1);
  const Reparameterizations parts = trained_parts(student, lora(), 7);
  const NamedTensors& own = parts.at(name).parameters;
  own.at("lora_b").copy_(floats(300, 3, 2));
  const at::Tensor gradient = floats(300, 517, 3);
  const NamedTensors one = parts.at(name).pull_back(own, gradient.clone(), 1),
                     two = parts.at(name).pull_back(own, gradient.clone(), 2);
  const at::Tensor g = gradient.to(at::kDouble);
  const at::Tensor by_a = at::mm(own.at("lora_b").to(at::kDouble).t(), g) * 2.0,
                   by_b = at::mm(g, own.at("lora_a").to(at::kDouble).t()) * 2.0;
  EXPECT_LT((one.at("lora_a") - by_a).abs().max().item<double>(), 1e-5 * by_a.abs().max().item<double>());
  EXPECT_LT((one.at("lora_b") - by_b).abs().max().item<double>(), 1e-5 * by_b.abs().max().item<double>());
  EXPECT_TRUE(at::equal(one.at("lora_a"), two.at("lora_a")) && at::equal(one.at("lora_b"), two.at("lora_b")));
}

TEST_F(LoraTest, TrainsItsTargetsAloneAndGoesOnWhereItStopped) {
  const CausalLM start = model();
  DistillOptions options = lora();
  options.lora_targets = {"query", "down"};
  options.learning_rate = 0.02, options.checkpoint_every_steps = 0;
  const CausalLM whole = trained(options);
  EXPECT_LT(result_.history.back().loss, 0.98 * result_.history.front().loss);
  for (const auto& [name, tensor] : start.parameters) {
    const bool adapted = name.find("attn_q.weight") != std::string::npos || name.find("ffn_down") != std::string::npos;
    EXPECT_EQ(!at::equal(whole.parameters.at(name), tensor), adapted) << name;
  }
  EXPECT_THROW(trained(options, false, [](const Event& e) { return e.done > 900 ? Flow::Stop : Flow::GoOn; }), Error);
  EXPECT_TRUE(same(whole, trained(options, true)));
}

TEST_F(LoraTest, FrozenRolesStayAsTheyAre) {
  const CausalLM start = model();
  DistillOptions options = quick(500);
  options.frozen = {"embedding", "up"};
  const CausalLM student = trained(options);
  for (const auto& [name, tensor] : start.parameters) {
    const bool frozen = name == "token_embd.weight" || name.find("ffn_up") != std::string::npos;
    EXPECT_EQ(at::equal(student.parameters.at(name), tensor), frozen) << name;
  }
}

}  // namespace
}  // namespace attar
