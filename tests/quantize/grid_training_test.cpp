#include "quantize/grid_training.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/equal.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "distill/train.h"
#include "runtime/base/error.h"
#include "runtime/base/half.h"
#include "tests/distill/tiny_training.h"
#include "tests/test_folder.h"

namespace attar {
namespace {

// The model of tiny_training.h with rows that divide by 256, so that K types hold them.
ModelConfig wide_config(bool tied) {
  ModelConfig config = tiny_config(Family::Llama);
  config.width = 256;
  config.layers.assign(2, {LayerKind::FullAttention, 4, 2, 64, 256});
  config.tied_embeddings = tied;
  return config;
}

// What the bytes stand for, as export/ has it.
CausalLM decoded(const QuantizedModel& quantized) {
  CausalLM model{quantized.config, {}};
  for (const auto& [name, tensor] : quantized.tensors) {
    const QuantFormat& format = format_of(tensor.type);
    at::Tensor values = at::empty(tensor.shape, at::kFloat);
    format.decode(tensor.bytes.data(), values.numel() / format.block_size, values.mutable_data_ptr<float>());
    model.parameters[name] = values;
  }
  return model;
}

struct Learned {
  CausalLM student;
  QuantizedModel quantized;
  TrainResult result;
};

class GridTrainingTest : public testing::Test {
 protected:
  QuantizedModel quantized(const std::string& to, const std::map<std::string, std::string>& keep = {},
                           const char* method = "fast") const {
    QuantizeOptions options;
    options.to = to;
    options.keep = keep;
    options.preset = method;
    return quantize(teacher_, options, {}, data_, 2);
  }
  Learned learned(QuantizedModel start, int threads, const GridTrainingOptions& options = {},
                  const std::string& folder = {}, bool resume = false, const Progress& progress = {}) const {
    Learned out{decoded(start), std::move(start), {}};
    Reparameterizations parameters = grid_parameters(teacher_, out.quantized, options, threads);
    const TrainInputs inputs{.teacher = &teacher_,
                             .student_to_teacher = {},
                             .data = &data_,
                             .reparameterized = &parameters,
                             .checkpoint_directory = folder,
                             .resume = resume,
                             .seed = 3,
                             .threads = threads};
    DistillOptions distill = quick(500);
    distill.losses = {{"forward_kl", 1.0}};
    distill.learning_rate = 1e-4;
    out.result = train(out.student, byte_tokenizer(), inputs, distill, progress);
    take_trained(out.student, parameters, out.quantized, threads);
    return out;
  }
  CausalLM teacher_ = CausalLM::random(wide_config(true), 1);
  TokenDataset data_ = countable(40);
  const TestFolder own_{"grid_training"};
};

TEST_F(GridTrainingTest, StartsAsTheFileBitForBit) {
  for (const char* to : {"Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "IQ4_NL", "Q4_K", "Q5_K", "Q6_K", "Q4_K_M", "F16"}) {
    const QuantizedModel start = quantized(to, {}, std::string(to) == "Q4_1" ? "best" : "fast");
    for (const GridParts parts : {GridParts::All, GridParts::Scales}) {
      const Reparameterizations parameters = grid_parameters(teacher_, start, {.parts = parts}, 2);
      CausalLM effective = decoded(start);
      for (auto& [name, tensor] : effective.parameters)
        if (parameters.contains(name) && parameters.at(name).effective) tensor.zero_();
      make_effective(parameters, effective, 2);
      EXPECT_TRUE(same(effective, decoded(start))) << to;
      QuantizedModel untrained = start;
      take_trained(effective, parameters, untrained, 2);
      EXPECT_EQ(content_hash(untrained), content_hash(start)) << to;
    }
  }
}

// What was trained is what is packed, whatever moved: codes, scales, norms; a tied head, one of its own, F16.
TEST_F(GridTrainingTest, PacksWhatWasTrainedBitForBit) {
  for (const bool tied : {true, false}) {
    teacher_ = CausalLM::random(wide_config(tied), 1);
    for (const auto& [to, keep] :
         std::vector<std::pair<std::string, std::map<std::string, std::string>>>{{"Q4_0", {}},
                                                                                 {"Q5_0", {{"embedding", "F16"}}},
                                                                                 {"IQ4_NL", {}},
                                                                                 {"Q8_0", {{"value", "BF16"}}},
                                                                                 {"Q4_K", {}},
                                                                                 {"Q4_K_M", {}},
                                                                                 {"Q4_1", {}},
                                                                                 {"Q5_1", {}},
                                                                                 {"Q5_K", {}},
                                                                                 {"Q6_K", {}}}) {
      const QuantizedModel start = quantized(to, keep);
      const Learned done = learned(start, 2);
      EXPECT_TRUE(same(decoded(done.quantized), done.student)) << to;
      EXPECT_EQ(done.quantized.plan.tensor_bytes(), start.plan.tensor_bytes());
      for (const auto& [name, tensor] : done.quantized.tensors)
        EXPECT_NE(tensor.bytes, start.tensors.at(name).bytes) << to << " " << name;
    }
  }
}

TEST_F(GridTrainingTest, ScalesAloneLeaveEveryCode) {
  const QuantizedModel start = quantized("Q4_0");
  const Learned done = learned(start, 2, {.parts = GridParts::Scales, .scale_rate = 1.0});
  EXPECT_LT(done.result.history.back().loss, 0.95 * done.result.history.front().loss);
  EXPECT_TRUE(same(decoded(done.quantized), done.student));
  const auto& before = start.tensors.at("blk.0.ffn_up.weight").bytes;
  const auto& after = done.quantized.tensors.at("blk.0.ffn_up.weight").bytes;
  EXPECT_NE(before, after);
  for (size_t i = 0; i < before.size(); ++i)
    ASSERT_TRUE(i % 18 < 2 || before[i] == after[i]) << i;  // behind d, the codes
}

TEST_F(GridTrainingTest, RatesMayCountInCells) {
  const QuantizedModel start = quantized("Q4_0");
  const Reparameterizations parameters =
      grid_parameters(teacher_, start, {.scale_rate = 0.5, .unit = RateUnit::Cell}, 2);
  const char* name = "blk.0.ffn_up.weight";
  const std::vector<std::byte>& bytes = start.tensors.at(name).bytes;
  double sum = 0.0;
  for (size_t block = 0; block < bytes.size(); block += 18) {
    uint16_t d = 0;
    std::memcpy(&d, bytes.data() + block, sizeof d);
    sum += std::fabs(static_cast<double>(f16_to_f32(d)));
  }
  const double cell = sum / static_cast<double>(bytes.size() / 18);
  const std::map<std::string, double>& ratios = parameters.at(name).learning_rate_ratios;
  EXPECT_NEAR(ratios.at("latent"), cell, 1e-12 * cell);
  EXPECT_NEAR(ratios.at("d"), 0.5 * cell, 1e-12 * cell);
  EXPECT_FALSE(grid_parameters(teacher_, start, {}, 2).at(name).learning_rate_ratios.contains("latent"));
}

TEST_F(GridTrainingTest, ThreadsChangeNoBit) {
  EXPECT_EQ(content_hash(learned(quantized("Q4_K_M"), 1).quantized),
            content_hash(learned(quantized("Q4_K_M"), 2).quantized));
}

TEST_F(GridTrainingTest, StoppedAndResumedGivesTheSameBytes) {
  const QuantizedModel start = quantized("Q4_1", {{"value", "F16"}});
  for (const GridParts parts : {GridParts::All, GridParts::Scales}) {
    const std::string straight = content_hash(learned(start, 2, {.parts = parts}).quantized);
    for (const int stop : {1, 3}) {
      const std::string folder =
          own_ / ("checkpoints" + std::to_string(stop) + std::to_string(static_cast<int>(parts)));
      int steps = 0;
      const auto stop_after = [&](const Event&) { return ++steps >= stop ? Flow::Stop : Flow::GoOn; };
      EXPECT_THROW(learned(start, 2, {.parts = parts}, folder, false, stop_after), Error);
      EXPECT_EQ(content_hash(learned(start, 1, {.parts = parts}, folder, true).quantized), straight) << stop;
    }
  }
}

TEST_F(GridTrainingTest, AnotherTrainingsCheckpointsAreRefused) {
  const QuantizedModel start = quantized("Q4_0");
  const std::string folder = own_ / "checkpoints";
  int steps = 0;
  const auto stop = [&](const Event&) { return ++steps >= 3 ? Flow::Stop : Flow::GoOn; };
  EXPECT_THROW(learned(start, 2, {}, folder, false, stop), Error);
  EXPECT_THROW(learned(start, 2, {.parts = GridParts::Scales}, folder, true), Error);
  EXPECT_THROW(learned(start, 2, {.scale_rate = 0.2}, folder, true), Error);
  EXPECT_NO_THROW(learned(start, 2, {}, folder, true));
}

// Frozen parts: no gradient is made, no bit moves, and the rest trains as if they were constants.
TEST_F(GridTrainingTest, FrozenPartsStay) {
  Reparameterizations frozen;
  frozen["token_embd.weight"] = {}, frozen["blk.0.ffn_up.weight"] = {};
  CausalLM student = CausalLM::random(wide_config(true), 2);
  const CausalLM before = student.clone();
  TrainInputs inputs{.student_to_teacher = {}, .data = &data_, .reparameterized = &frozen, .checkpoint_directory = {}};
  train(student, byte_tokenizer(), inputs, quick(200));
  for (const auto& [name, tensor] : student.parameters)
    EXPECT_EQ(at::equal(tensor, before.parameter(name)), frozen.contains(name)) << name;
  for (const auto& [name, tensor] : before.parameters) frozen[name] = {};
  EXPECT_THROW(train(student, byte_tokenizer(), inputs, quick(200)), Error);
}

// Codebooks keep their codes, which is said; what is beside them learns.
TEST_F(GridTrainingTest, CodebooksStayAndAreANote) {
  const QuantizedModel start = quantized("IQ3_S", {{"down", "Q4_0"}});
  const Learned done = learned(start, 2);
  bool moved = false;
  for (const auto& [name, tensor] : start.tensors) {
    const bool same_bytes = tensor.bytes == done.quantized.tensors.at(name).bytes;
    EXPECT_TRUE(tensor.type != TensorType::IQ3_S || same_bytes) << name;
    moved = moved || !same_bytes;
  }
  EXPECT_TRUE(moved);
  EXPECT_TRUE(same(decoded(done.quantized), done.student));
  ASSERT_EQ(done.quantized.notes.size(), start.notes.size() + 2);
  EXPECT_NE(done.quantized.notes.end()[-2].find("of the codes before they learned"), std::string::npos);
  EXPECT_NE(done.quantized.notes.back().find("nothing was learned in 13 tensors"), std::string::npos)
      << done.quantized.notes.back();
}

}  // namespace
}  // namespace attar
