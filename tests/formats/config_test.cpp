#include "runtime/formats/config.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>

#include "tests/formats/tiny_files.h"

namespace attar {
namespace {

struct Published {
  const char* name;
  Family family;
  int64_t layers, width, heads, kv_heads, head_dim, ffn, vocabulary;
  bool tied;
  int64_t parameters;
};
// Published configurations and parameter counts.
constexpr Published kPublished[] = {
    {"SmolLM2-135M", Family::Llama, 30, 576, 9, 3, 64, 1536, 49152, true, 134'515'008},
    {"SmolLM2-360M", Family::Llama, 32, 960, 15, 5, 64, 2560, 49152, true, 361'821'120},
    {"Llama-3.2-1B", Family::Llama, 16, 2048, 32, 8, 64, 8192, 128256, true, 1'235'814'400},
    {"TinyLlama-1.1B", Family::Llama, 22, 2048, 32, 4, 64, 5632, 32000, false, 1'100'048'384},
    {"Qwen2.5-0.5B", Family::Qwen2, 24, 896, 14, 2, 64, 4864, 151936, true, 494'032'768},
    {"Qwen3-0.6B", Family::Qwen3, 28, 1024, 16, 8, 128, 3072, 151936, true, 596'049'920},
    {"Gemma-3-270m", Family::Gemma3, 18, 640, 4, 1, 256, 2048, 262144, true, 268'098'176},
    {"Gemma-3-1b", Family::Gemma3, 26, 1152, 4, 1, 256, 6912, 262144, true, 999'885'952},
};

TEST(Config, ParameterCountsAreThePublishedOnes) {
  for (const Published& row : kPublished) {
    ModelConfig config;
    config.family = row.family;
    config.vocab_size = row.vocabulary;
    config.width = row.width;
    config.context_length = 2048;
    config.tied_embeddings = row.tied;
    config.layers.assign(static_cast<size_t>(row.layers),
                         {LayerKind::FullAttention, row.heads, row.kv_heads, row.head_dim, row.ffn});
    EXPECT_NO_THROW(check_config(config, row.name));
    EXPECT_EQ(config.parameter_count(), row.parameters) << row.name;
  }
}

TEST(Config, EveryFamilyIsFoundByItsName) {
  for (const FamilyTraits& family : families()) {
    EXPECT_EQ(&traits(family.family), &family);
    EXPECT_EQ(find_family(family.name), &family);
  }
  EXPECT_EQ(find_family("gpt2"), nullptr);
  EXPECT_EQ(find_family(""), nullptr);
}

TEST(Config, PlainFrequenciesAreThetaToTheMinus2jOverD) {
  ModelConfig config = tiny(Family::Llama);
  config.rope_theta = 10000.0;
  const std::vector<double> frequencies = rope_frequencies(config, config.layers[0]);  // D 8
  ASSERT_EQ(frequencies.size(), 4u);
  const double expected[] = {1.0, 0.1, 0.01, 0.001};
  for (size_t j = 0; j < 4; ++j) EXPECT_NEAR(frequencies[j], expected[j], 1e-15);
}

TEST(Config, SlidingLayersHaveTheirOwnThetaAndNoScaling) {
  ModelConfig config = tiny(Family::Gemma3);
  config.rope_theta = 1e6;
  config.rope_theta_sliding = 1e4;
  config.rope_scaling = RopeScaling{.type = "linear", .factor = 8.0};
  EXPECT_NEAR(rope_frequencies(config, config.layers[0])[1], 0.1, 1e-15);
  EXPECT_NEAR(rope_frequencies(config, config.layers[5])[2], 1e-3 / 8.0, 1e-15);
}

// transformers 5.23.0, ROPE_INIT_FUNCTIONS["llama3"] with the configuration of Llama-3.2-1B, float32.
TEST(Config, Llama3ScalingEqualsTransformers) {
  ModelConfig config = tiny(Family::Llama);
  config.rope_theta = 500000.0;
  config.layers[0].head_dim = 64;
  config.rope_scaling = RopeScaling{.type = "llama3", .factor = 32.0};
  const std::vector<double> frequencies = rope_frequencies(config, config.layers[0]);
  const std::pair<size_t, double> golden[] = {{0, 1.0},
                                              {1, 0.663601279258728},
                                              {10, 0.016560440883040428},
                                              {14, 0.0032114461064338684},
                                              {15, 0.0012905480107292533},
                                              {16, 0.000429556705057621},
                                              {17, 9.708286233944818e-05},
                                              {18, 1.9461638657958247e-05},
                                              {19, 1.291476746700937e-05},
                                              {31, 9.418306490260875e-08}};
  for (const auto& [j, expected] : golden) EXPECT_NEAR(frequencies[j], expected, 2e-6 * expected) << j;
}

TEST(Config, ScoreScale) {
  ModelConfig config = tiny(Family::Gemma3);
  config.layers[0].head_dim = 256;
  EXPECT_DOUBLE_EQ(config.score_scale(config.layers[0]), 0.0625);
  config.attention_scale = 0.5;
  EXPECT_DOUBLE_EQ(config.score_scale(config.layers[0]), 0.5);
}

struct Fault {
  const char* expected;  // part of the message
  std::function<void(ModelConfig&)> damage;
};

TEST(Config, ImpossibleConfigsAreNamed) {
  const Fault faults[] = {
      {"the vocabulary size", [](ModelConfig& c) { c.vocab_size = 0; }},
      {"the vocabulary size", [](ModelConfig& c) { c.vocab_size = INT64_MAX; }},
      {"the width", [](ModelConfig& c) { c.width = -16; }},
      {"the context length", [](ModelConfig& c) { c.context_length = 0; }},
      {"the number of layers", [](ModelConfig& c) { c.layers.clear(); }},
      {"the number of layers", [](ModelConfig& c) { c.layers.resize(513, c.layers[0]); }},
      {"epsilon", [](ModelConfig& c) { c.norm_epsilon = 0.0; }},
      {"epsilon", [](ModelConfig& c) { c.norm_epsilon = NAN; }},
      {"rope_theta", [](ModelConfig& c) { c.rope_theta = INFINITY; }},
      {"rope_theta", [](ModelConfig& c) { c.rope_theta_sliding = -1.0; }},
      {"sliding window", [](ModelConfig& c) { c.sliding_window = -1; }},
      {"sliding window", [](ModelConfig& c) { c.layers[2].kind = LayerKind::SlidingAttention; }},
      {"attention scale", [](ModelConfig& c) { c.attention_scale = NAN; }},
      {"layer 1: the number of heads", [](ModelConfig& c) { c.layers[1].n_heads = 0; }},
      {"layer 1: the number of key/value heads", [](ModelConfig& c) { c.layers[1].n_kv_heads = 0; }},
      {"layer 1: the number of key/value heads", [](ModelConfig& c) { c.layers[1].n_kv_heads = 8; }},
      {"layer 1: the heads do not divide", [](ModelConfig& c) { c.layers[1].n_kv_heads = 3; }},
      {"layer 1: the head width is odd", [](ModelConfig& c) { c.layers[1].head_dim = 7; }},
      {"layer 1: the head width", [](ModelConfig& c) { c.layers[1].head_dim = 0; }},
      {"layer 2: the feed-forward width", [](ModelConfig& c) { c.layers[2].ffn_width = 0; }},
      {"more parameters", [](ModelConfig& c) { c.vocab_size = c.width = 1 << 24; }},
      {"`yarn` is not supported", [](ModelConfig& c) { c.rope_scaling = RopeScaling{.type = "yarn"}; }},
      {"scaling factor", [](ModelConfig& c) { c.rope_scaling = RopeScaling{.type = "linear", .factor = 0.0}; }},
      {"high_freq_factor",
       [](ModelConfig& c) { c.rope_scaling = RopeScaling{.type = "llama3", .high_freq_factor = 1.0}; }},
      {"original context",
       [](ModelConfig& c) { c.rope_scaling = RopeScaling{.type = "llama3", .original_context_length = 0}; }},
  };
  EXPECT_NO_THROW(check_config(tiny(Family::Llama), "here"));
  for (const Fault& fault : faults) {
    ModelConfig config = tiny(Family::Llama);
    fault.damage(config);
    const std::string message = error_of([&] { check_config(config, "here"); });
    EXPECT_NE(message.find(fault.expected), std::string::npos) << "wanted: " << fault.expected << "\ngot: " << message;
    EXPECT_EQ(message.rfind("here: ", 0), 0u) << message;
  }
}

}  // namespace
}  // namespace attar
