#include "compress/precision.h"

#include <ATen/TensorOperators.h>
#include <ATen/autocast_mode.h>
#include <gtest/gtest.h>

#include "distill/learner.h"
#include "tests/distill/tiny_training.h"

namespace attar {
namespace {

class PrecisionTest : public testing::TestWithParam<Family> {
 protected:
  static BatchGradients gradients(const CausalLM& student, const CausalLM& teacher, const TokenDataset& data,
                                  const std::string& precision) {
    DistillOptions options = quick(100);
    options.losses = {{"forward_kl", 1.0}};
    options.precision = precision;
    const TrainInputs inputs{.teacher = &teacher, .student_to_teacher = {}, .data = &data, .checkpoint_directory = {}};
    TrainingBatch batch{&data, {}, {}};
    for (int64_t d = 0; d < 6; ++d)
      batch.pieces.push_back({d, 0, static_cast<int64_t>(data.documents[static_cast<size_t>(d)].tokens.size())});
    batch.tokens = loss_tokens(data, batch.pieces, SignalSource::None);
    return Learner(student, inputs, options, SignalSource::Online).gradients(batch, 1.0);
  }
};

TEST_P(PrecisionTest, Bf16GradientsAreNearTheOthers) {
  const CausalLM student = CausalLM::random(tiny_config(GetParam()), 1),
                 teacher = CausalLM::random(tiny_config(GetParam()), 2);
  const TokenDataset data = countable(8);
  const BatchGradients exact = gradients(student, teacher, data, "fp32"),
                       rounded = gradients(student, teacher, data, "bf16");
  EXPECT_NEAR(rounded.loss, exact.loss, 0.02 * exact.loss);
  EXPECT_NE(rounded.loss, exact.loss);
  double off = 0.0, all = 0.0;
  for (const auto& [name, gradient] : exact.of) {
    const at::Tensor& other = rounded.of.at(name);
    ASSERT_EQ(other.scalar_type(), at::kFloat) << name;
    const at::Tensor difference = other - gradient;
    off += difference.pow(2).sum().item<double>(), all += gradient.pow(2).sum().item<double>();
  }
  EXPECT_LT(off, 0.03 * 0.03 * all);
}

INSTANTIATE_TEST_SUITE_P(Families, PrecisionTest,
                         testing::Values(Family::Llama, Family::Qwen2, Family::Qwen3, Family::Gemma3));

TEST(Precision, TheHostGetsItsSettingsBack) {
  for (const bool enabled : {false, true}) {
    at::autocast::set_autocast_enabled(at::kCPU, enabled);
    for (const Precision precision : {Precision::Fp32, Precision::Bf16}) {
      {
        const ProductsIn products(precision);
        EXPECT_EQ(at::autocast::is_autocast_enabled(at::kCPU), precision == Precision::Bf16);
      }
      EXPECT_EQ(at::autocast::is_autocast_enabled(at::kCPU), enabled);
      EXPECT_TRUE(at::autocast::is_autocast_cache_enabled());
    }
  }
  at::autocast::set_autocast_enabled(at::kCPU, false);
}

TEST(Precision, AutoIsOneOfTheTwo) {
  EXPECT_TRUE(find_precision("auto").has_value());
  EXPECT_EQ(find_precision("fp32"), Precision::Fp32);
  EXPECT_FALSE(find_precision("fp16").has_value());
}

}  // namespace
}  // namespace attar
