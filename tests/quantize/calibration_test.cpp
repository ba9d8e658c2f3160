// How many tokens of the calibration text are used where nobody asks for a number, and what is said where they are few.
#include "quantize/calibration.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/compress/uneven_model.h"
#include "tests/quantize/smollm2_config.h"

namespace attar {
namespace {

ModelConfig config_with_ffn(int64_t ffn_width) {
  ModelConfig config = uneven_config(Family::Llama, true);
  config.width = 64;
  config.layers.assign(1, {LayerKind::FullAttention, 4, 2, 16, ffn_width});
  return config;
}

QuantizeOptions options_with(const std::string& preset, int64_t tokens = 0) {
  QuantizeOptions options;
  options.to = "Q4_0", options.preset = preset, options.calibration_tokens = tokens;
  return options;
}

TEST(Calibration, APresetWantsTokensForTheWidestMatrix) {
  const auto wanted = [](const ModelConfig& config, const std::string& preset) {
    return calibration_limit_tokens(config, options_with(preset));
  };
  ModelConfig many_heads = smollm2();
  many_heads.layers[7].n_heads = 36;  // 2,304 inputs of its output
  for (const std::string preset : {"best", "learned"}) {
    EXPECT_EQ(wanted(smollm2(), preset), 16 * 1536) << preset;
    EXPECT_EQ(wanted(many_heads, preset), 16 * 2304) << preset;
    EXPECT_EQ(wanted(config_with_ffn(128), preset), 8192) << preset;
    EXPECT_EQ(wanted(config_with_ffn(576), preset), 16 * 576) << preset;
    EXPECT_EQ(wanted(config_with_ffn(4096), preset), 65536) << preset;
    EXPECT_EQ(wanted(config_with_ffn(14336), preset), 65536) << preset;
  }
  EXPECT_EQ(wanted(smollm2(), "fast"), 8192);
}

TEST(Calibration, ANumberThatWasAskedForStays) {
  for (const std::string preset : {"fast", "best", "learned"})
    for (const int64_t tokens : {int64_t{1}, int64_t{8192}, int64_t{100000}})
      EXPECT_EQ(calibration_limit_tokens(smollm2(), options_with(preset, tokens)), tokens) << preset;
  EXPECT_TRUE(check_quantize_options(options_with("best")).empty());
  const std::vector<FieldProblem> problems = check_quantize_options(options_with("best", -1));
  ASSERT_EQ(problems.size(), 1u);
  EXPECT_EQ(problems[0].field, "calibration_tokens");
}

TEST(Calibration, TheNoteTellsTheNumberFromTheText) {
  EXPECT_EQ(calibration_shortage_note(smollm2(), 24576, 0), "");
  EXPECT_EQ(calibration_shortage_note(smollm2(), 24575, 9000),
            "calibration_tokens is 1 short of 16 for each input of the widest layer; raise it: some of the text was "
            "left over");
  EXPECT_EQ(calibration_shortage_note(smollm2(), 8192, 0),
            "the calibration text is 16384 tokens short of 16 for each input of the widest layer: more of it, of the "
            "kinds the model is for, would keep more");
  EXPECT_EQ(calibration_shortage_note(config_with_ffn(8192), 65536, 9000), "");  // it had what the default goes up to
  const std::string wider = calibration_shortage_note(config_with_ffn(8192), 40000, 0);
  EXPECT_NE(wider.find("is 25536 tokens short of 65536, the most"), std::string::npos) << wider;
}

// 9,216 tokens are wanted, and 11,950 are there.
TEST(Calibration, AQuantizationSaysWhatItUsed) {
  const CausalLM model = CausalLM::random(config_with_ffn(576), 3);
  const TokenDataset text = uneven_text(100, 70);
  std::string details;
  const Progress listener = [&](const Event& event) {
    if (!event.detail.empty()) details += std::string(event.detail) + "\n";
    return Flow::GoOn;
  };
  const QuantizedModel best = quantize(model, options_with("best"), {}, text, 2, listener);
  EXPECT_EQ(best.calibration_tokens, 9216);
  EXPECT_TRUE(best.notes.empty()) << best.notes.front();
  EXPECT_EQ(details, "9216 tokens of calibration text\n");
  const QuantizedModel asked = quantize(model, options_with("best", 9216), {}, text, 2);
  for (const auto& [name, tensor] : best.tensors) EXPECT_EQ(asked.tensors.at(name).bytes, tensor.bytes) << name;

  const QuantizedModel cut = quantize(model, options_with("best", 8192), {}, text, 2);
  EXPECT_EQ(cut.calibration_tokens, 8192);
  ASSERT_EQ(cut.notes.size(), 1u);
  EXPECT_EQ(cut.notes[0], calibration_shortage_note(model.config, 8192, 1));

  const QuantizedModel little = quantize(model, options_with("best"), {}, uneven_text(20, 70), 2);
  EXPECT_EQ(little.calibration_tokens, 1590);
  ASSERT_EQ(little.notes.size(), 1u);
  EXPECT_EQ(little.notes[0], calibration_shortage_note(model.config, 1590, 0));

  const QuantizedModel fast = quantize(model, options_with("fast"), {}, text, 2);
  EXPECT_EQ(fast.calibration_tokens, 8192);
  EXPECT_TRUE(fast.notes.empty());
  QuantizeOptions untold = options_with("best");
  untold.importance = false;
  EXPECT_EQ(quantize(model, untold, {}, text, 2).calibration_tokens, 0);
}

}  // namespace
}  // namespace attar
