#include "runtime/formats/hf_directory.h"

#include <gtest/gtest.h>

#include <cmath>
#include <fstream>

#include "tests/formats/tiny_files.h"

namespace attar {
namespace {

// `{` + members + `}`
ModelConfig read(const std::string& members) {
  const TestFolder folder("hf_directory_test");
  std::ofstream(folder / "config.json") << "{" << members << "}";
  return read_hf_config(folder.path());
}

const std::string kLlama =
    R"("model_type": "llama", "vocab_size": 24, "hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 4,
       "num_key_value_heads": 2, "intermediate_size": 20, "max_position_embeddings": 64, "rms_norm_eps": 1e-5,
       "tie_word_embeddings": true, "head_dim": 8)";
const std::string kGemma =
    R"("model_type": "gemma3_text", "vocab_size": 24, "hidden_size": 16, "num_hidden_layers": 7, "num_attention_heads": 4,
       "num_key_value_heads": 2, "intermediate_size": 20, "max_position_embeddings": 64, "rms_norm_eps": 1e-5, "head_dim": 8,
       "query_pre_attn_scalar": 8, "sliding_window": 16)";

TEST(HfConfig, OldAndNewSpellingOfRope) {
  ModelConfig expected = tiny(Family::Llama);
  EXPECT_EQ(read(kLlama + R"(, "rope_theta": 5000.0)"), expected);
  EXPECT_EQ(read(kLlama + R"(, "rope_parameters": {"rope_type": "default", "rope_theta": 5000.0})"), expected);
  expected.rope_scaling = RopeScaling{.type = "llama3", .factor = 32.0, .original_context_length = 4096};
  const std::string scaling =
      R"("factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 4096)";
  EXPECT_EQ(read(kLlama + R"(, "rope_theta": 5000.0, "rope_scaling": {"rope_type": "llama3", )" + scaling + "}"),
            expected);
  EXPECT_EQ(read(kLlama + R"(, "rope_parameters": {"rope_theta": 5000.0, "rope_type": "llama3", )" + scaling + "}"),
            expected);
  expected.rope_scaling = RopeScaling{.type = "linear", .factor = 4.0};
  EXPECT_EQ(read(kLlama + R"(, "rope_theta": 5000.0, "rope_scaling": {"type": "linear", "factor": 4})"), expected);
}

TEST(HfConfig, OldAndNewSpellingOfGemmasLayers) {
  ModelConfig expected = tiny(Family::Gemma3);
  const std::string rope = R"(, "rope_theta": 5000.0, "rope_local_base_freq": 10000.0)";
  EXPECT_EQ(read(kGemma + rope), expected);  // every sixth is global by default
  EXPECT_EQ(read(kGemma + R"(, "rope_parameters": {"full_attention": {"rope_type": "default", "rope_theta": 5000.0},
                 "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0}})"),
            expected);
  for (auto& layer : expected.layers) layer.kind = LayerKind::SlidingAttention;
  expected.layers[1].kind = expected.layers[3].kind = expected.layers[5].kind = LayerKind::FullAttention;
  EXPECT_EQ(read(kGemma + rope + R"(, "_sliding_window_pattern": 2)"), expected);
  EXPECT_EQ(read(kGemma + rope + R"(, "sliding_window_pattern": 2)"), expected);
  EXPECT_EQ(read(kGemma + rope +
                 R"(, "layer_types": ["sliding_attention", "full_attention", "sliding_attention", "full_attention",
                 "sliding_attention", "full_attention", "sliding_attention"])"),
            expected);
}

TEST(HfConfig, HeadWidthIsReadAndOnlyThenDerived) {
  const std::string without = kLlama.substr(0, kLlama.rfind(", \"head_dim\""));
  EXPECT_EQ(read(kLlama).layers[0].head_dim, 8);
  EXPECT_EQ(read(without).layers[0].head_dim, 4);  // 16 / 4
  EXPECT_EQ(read(without + R"(, "head_dim": null)").layers[0].head_dim, 4);
}

TEST(HfConfig, QueryPreAttentionScalar) {
  EXPECT_EQ(read(kGemma).attention_scale, 0.0);  // 8 is the head width
  std::string other = kGemma;
  other.replace(other.find("\"query_pre_attn_scalar\": 8"), 26, "\"query_pre_attn_scalar\": 16");
  EXPECT_DOUBLE_EQ(read(other).attention_scale, 0.25);
}

TEST(HfConfig, WrittenConfigsReadBack) {
  for (const FamilyTraits& family : families()) {
    ModelConfig config = tiny(family.family);
    const TokenizerData tokenizer = tiny_tokenizer(config.vocab_size);
    for (const bool tied : {true, false}) {
      config.tied_embeddings = tied;
      const TestFolder folder("hf_directory_test");
      std::ofstream(folder / "config.json") << hf_config_json(config, "float32", tokenizer);
      EXPECT_EQ(read_hf_config(folder.path()), config) << family.name;
    }
    config.rope_scaling = RopeScaling{.type = "llama3",
                                      .factor = 8.0,
                                      .low_freq_factor = 1.5,
                                      .high_freq_factor = 3.0,
                                      .original_context_length = 99};
    const TestFolder folder("hf_directory_test");
    std::ofstream(folder / "config.json") << hf_config_json(config, "float32", tokenizer);
    EXPECT_EQ(read_hf_config(folder.path()), config) << family.name;
  }
}

TEST(HfConfig, UnevenLayersAreRefusedButKeptInCheckpoints) {
  for (const FamilyTraits& family : families()) {
    const ModelConfig config = tiny_uneven(family.family);
    const TokenizerData tokenizer = tiny_tokenizer(config.vocab_size);
    EXPECT_NE(error_of([&] { hf_config_json(config, "float32", tokenizer); }).find("layers of different widths"),
              std::string::npos);
    const TestFolder folder("hf_directory_test");
    std::ofstream(folder / "config.json") << checkpoint_config_json(config, tokenizer);
    EXPECT_EQ(read_hf_config(folder.path()), config) << family.name;
  }
}

struct Fault {
  const char* expected;
  std::string members;
};

std::string with(const std::string& members, const std::string& key, const std::string& value) {
  const size_t at = members.find("\"" + key + "\"");
  if (at == std::string::npos) return members + ", \"" + key + "\": " + value;
  const size_t begin = members.find(':', at) + 1, end = std::min(members.find(',', begin), members.size());
  return members.substr(0, begin) + " " + value + members.substr(end);
}

TEST(HfConfig, HostileConfigsAreNamed) {
  const Fault faults[] = {
      {"model_type is missing", ""},
      {"`gpt2` is not supported", R"("model_type": "gpt2")"},
      {"gemma3 with vision", R"("model_type": "gemma3", "text_config": {"hidden_size": 16})"},
      {"stands twice", kLlama + R"(, "vocab_size": 24)"},
      {"stands twice", kLlama + R"(, "rope_scaling": {"factor": 2.0, "factor": 4.0})"},
      {"quantized checkpoint", kLlama + R"(, "quantization_config": {"bits": 4})"},
      {"vocab_size has another type", with(kLlama, "vocab_size", "\"24\"")},
      {"vocab_size has another type", with(kLlama, "vocab_size", "24.5")},
      {"vocab_size has another type", with(kLlama, "vocab_size", "18446744073709551615")},
      {"the vocabulary size is impossible", with(kLlama, "vocab_size", "-24")},
      {"num_hidden_layers is impossible", with(kLlama, "num_hidden_layers", "1000000000")},
      {"num_attention_heads is impossible", with(kLlama, "num_attention_heads", "0")},
      {"key/value heads", with(kLlama, "num_key_value_heads", "0")},
      {"do not divide", with(kLlama, "num_key_value_heads", "3")},
      {"the head width is odd", with(kLlama, "head_dim", "7")},
      {"not a JSON object", with(kLlama, "rms_norm_eps", "1e400")},
      {"not a JSON object", with(kLlama, "rms_norm_eps", "NaN")},
      {"JSON nests too deeply", kLlama + ", \"x\": " + std::string(10000, '[')},
      {"JSON nests too deeply", kLlama + ", \"rope_scaling\": " + std::string(300000, '[') + std::string(300000, ']')},
      {"key factor is missing", kLlama + R"(, "rope_scaling": {"type": "linear"})"},
      {"key original_max_position_embeddings is missing",
       kLlama +
           R"(, "rope_scaling": {"rope_type": "llama3", "factor": 8, "low_freq_factor": 1, "high_freq_factor": 4})"},
      {"layer_types has another length", kLlama + R"(, "layer_types": ["full_attention"])"},
      {"`chunked_attention` are not supported", kLlama + R"(, "layer_types": ["full_attention", "full_attention",
       "chunked_attention"])"},
      {"epsilon is impossible", with(kLlama, "rms_norm_eps", "-1")},
      {"the activation is not supported", with(kLlama, "hidden_act", "\"gelu\"")},
      {"the activation is not supported", with(kGemma, "hidden_activation", "\"silu\"")},
      {"biases in attention", with(kLlama, "attention_bias", "true")},
      {"biases in the feed-forward", with(kLlama, "mlp_bias", "true")},
      {"partial RoPE", with(kLlama, "partial_rotary_factor", "0.5")},
      {"partial RoPE", kLlama + R"(, "rope_parameters": {"rope_theta": 1e4, "partial_rotary_factor": 0.5})"},
      {"soft-capped", with(kGemma, "final_logit_softcapping", "30.0")},
      {"query_pre_attn_scalar is impossible", with(kGemma, "query_pre_attn_scalar", "-4")},
      {"`yarn` is not supported", kLlama + R"(, "rope_scaling": {"rope_type": "yarn", "factor": 4.0})"},
      {"rope: is no JSON object", kLlama + R"(, "rope_scaling": 4)"},
      {"a sliding window in this family", with(with(kLlama, "sliding_window", "16"), "model_type", "\"mistral\"")},
      {"layer_types has another length", kGemma + R"(, "layer_types": ["full_attention"])"},
      {"layer_types has another length", kGemma + R"(, "layer_types": 7)"},
      {"attar_layers has another length", kLlama + R"(, "attar_layers": [])"},
      {"n_heads is missing", kLlama + R"(, "attar_layers": [{}, {}, {}])"},
  };
  EXPECT_NO_THROW(read(kLlama));
  EXPECT_NO_THROW(read(kGemma));
  for (const Fault& fault : faults) {
    const std::string message = error_of([&] { read(fault.members); });
    EXPECT_NE(message.find(fault.expected), std::string::npos) << "wanted: " << fault.expected << "\ngot: " << message;
    EXPECT_NE(message.find("config.json"), std::string::npos) << message;
  }
  EXPECT_NE(error_of([] { read_hf_config("/no/such/folder"); }).find("holds no config.json"), std::string::npos);
}

TEST(HfProvenance, OutOfTheModelCard) {
  const TestFolder folder("hf_directory_test");
  std::ofstream(folder / "README.md")
      << "---\nlicense: apache-2.0\nbase_model:\n- org/one\n- \"two: 2\"\ntags:\n- x\n---\nlicense: no\n";
  const Provenance provenance = read_hf_provenance(folder.path());
  EXPECT_EQ(provenance.license, "apache-2.0");
  EXPECT_EQ(provenance.base_models, (std::vector<std::string>{"org/one", "two: 2"}));
  std::ofstream(folder / "README.md") << "---\nbase_model: \"a b\"\n---\n";
  EXPECT_EQ(read_hf_provenance(folder.path()).base_models, (std::vector<std::string>{"a b"}));
  std::ofstream(folder / "README.md") << "---\nbase_model:";
  EXPECT_TRUE(read_hf_provenance(folder.path()).base_models.empty());
}

}  // namespace
}  // namespace attar
