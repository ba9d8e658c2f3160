#include <ATen/ops/empty.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "export/export.h"
#include "export/model_card.h"
#include "runtime/base/input_file.h"
#include "runtime/base/sha256.h"
#include "tests/export/stops.h"
#include "tests/formats/tiny_files.h"

namespace attar {
namespace {

CausalLM random_model(const ModelConfig& config) {
  CausalLM model{.config = config, .parameters = {}};
  for (const auto& [name, values] : random_weights(config, 1))
    model.parameters[name] = at::empty({static_cast<int64_t>(values.size())}, at::kFloat);
  for (const TensorSpec& spec : tensor_specs(config)) {
    at::Tensor& tensor = model.parameters[spec.name];
    const std::vector<float> values = random_weights(config, 1)[spec.name];
    std::copy(values.begin(), values.end(), tensor.mutable_data_ptr<float>());
    tensor = tensor.view(spec.shape);
  }
  return model;
}

ExportInfo some_info() {
  ExportInfo info;
  info.provenance = {.name = "nano",
                     .license = "gemma",
                     .license_link = "https://ai.google.dev/gemma/terms",
                     .base_models = {"https://huggingface.co/Org/Base", "it: a \"name\""},
                     .author = ""};
  info.notes = {"a note\n# not a heading"};
  return info;
}

TEST(HfExport, DirectoriesReadBack) {
  for (const FamilyTraits& family : families()) {
    const TestFolder folder("hf_export_test");
    const ModelConfig config = tiny(family.family);
    const CausalLM model = random_model(config);
    export_hf(folder / "out", model, tiny_tokenizer(config.vocab_size), some_info(), "float32");
    const ModelFile file = ModelFile::open(folder / "out");
    EXPECT_EQ(file.config(), config) << family.name;
    const Weights weights = random_weights(config, 1);
    for (const TensorSpec& spec : tensor_specs(config))
      EXPECT_EQ(file.values(spec), weights.at(spec.name)) << spec.name;
    EXPECT_EQ(file.provenance().name, "nano");
    EXPECT_EQ(file.provenance().license, "gemma");
    EXPECT_EQ(file.provenance().license_link, "https://ai.google.dev/gemma/terms");
    EXPECT_EQ(file.provenance().base_models, (std::vector<std::string>{"Org/Base", "it: a \"name\""}));
    EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder.path()), std::filesystem::directory_iterator()),
              1);
  }
}

// transformers makes five of six layers of a gemma3 slide, with another RoPE, unless config.json says what each does.
TEST(HfExport, AGemmaWithoutAWindowSaysThatNoLayerSlides) {
  const TestFolder folder("hf_export_test");
  ModelConfig config = tiny(Family::Gemma3);
  config.sliding_window = 0;
  for (LayerConfig& layer : config.layers) layer.kind = LayerKind::FullAttention;
  export_hf(folder / "out", random_model(config), tiny_tokenizer(config.vocab_size), some_info(), "float32");
  const auto json = nlohmann::json::parse(read_file(folder / "out/config.json"));
  EXPECT_EQ(json.value("layer_types", std::vector<std::string>()),
            std::vector<std::string>(config.layers.size(), "full_attention"));
  EXPECT_EQ(json.value("sliding_window", int64_t{0}), config.context_length);
  EXPECT_EQ(ModelFile::open(folder / "out").config(), config);
}

TEST(HfExport, StoppedAnywhereLosesNothing) {
  const TestFolder folder("hf_export_test");
  const ModelConfig config = tiny(Family::Llama);
  const CausalLM model = random_model(config);
  expect_stops_lose_nothing(folder.path(), [&](const Progress& progress) {
    export_hf(folder / "out", model, tiny_tokenizer(config.vocab_size), some_info(), "float32", progress);
  });
  expect_stops_lose_nothing(folder.path(), [&](const Progress& progress) { write_manifest(folder.path(), progress); });
}

TEST(HfExport, Bfloat16RoundsToNearest) {
  const TestFolder folder("hf_export_test");
  const ModelConfig config = tiny(Family::Llama);
  export_hf(folder / "out", random_model(config), tiny_tokenizer(config.vocab_size), some_info(), "bfloat16");
  const ModelFile file = ModelFile::open(folder / "out");
  const Weights weights = random_weights(config, 1);
  for (const TensorSpec& spec : tensor_specs(config)) {
    EXPECT_EQ(file.tensor(spec.name).type, TensorType::BF16);
    const std::vector<float> got = file.values(spec);
    for (size_t i = 0; i < got.size(); ++i)
      EXPECT_NEAR(got[i], weights.at(spec.name)[i], std::fabs(weights.at(spec.name)[i]) / 256);
  }
}

TEST(HfExport, RefusedBeforeAnythingIsWritten) {
  const TestFolder folder("hf_export_test");
  const TokenizerData tokenizer = tiny_tokenizer(24);
  const auto refused = [&](const CausalLM& model, const TokenizerData& words, const char* dtype) {
    const std::string message = error_of([&] { export_hf(folder / "out", model, words, some_info(), dtype); });
    EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
    return message;
  };
  const CausalLM even = random_model(tiny(Family::Llama));
  EXPECT_NE(refused(random_model(tiny_uneven(Family::Llama)), tokenizer, "float32").find("layers of different widths"),
            std::string::npos);
  EXPECT_NE(refused(even, tokenizer, "int4").find("float32 or bfloat16"), std::string::npos);
  TokenizerData outside = tokenizer;
  outside.padding = 99;
  EXPECT_NE(refused(even, outside, "float32"), "");
}

TEST(HfExport, DequantizedValuesAreTheCodes) {
  const ModelConfig config = tiny(Family::Qwen2);
  QuantizedModel model{.config = config, .plan = {}, .tensors = {}};
  Weights weights = random_weights(config, 2);
  for (const TensorSpec& spec : tensor_specs(config)) {
    const QuantFormat& format = format_of(TensorType::F16);
    QuantizedTensor tensor{.type = TensorType::F16,
                           .shape = spec.shape,
                           .bytes = std::vector<std::byte>(static_cast<size_t>(spec.elements() * 2))};
    format.encode(weights[spec.name].data(), spec.elements(), tensor.bytes.data());
    format.decode(tensor.bytes.data(), spec.elements(), weights[spec.name].data());
    model.tensors[spec.name] = std::move(tensor);
  }
  const CausalLM plain = dequantized(model);
  EXPECT_EQ(plain.parameters.size(), weights.size());
  for (const TensorSpec& spec : tensor_specs(config)) {
    const at::Tensor& tensor = plain.parameters.at(spec.name);
    EXPECT_EQ(tensor.sizes().vec(), spec.shape);
    EXPECT_EQ(std::vector<float>(tensor.const_data_ptr<float>(), tensor.const_data_ptr<float>() + tensor.numel()),
              weights[spec.name]);
  }
}

TEST(ModelCard, TextFromFilesCannotBreakIt) {
  ExportInfo info = some_info();
  info.provenance.name = "x\n---\nlicense: evil";
  const std::string card =
      model_card(tiny(Family::Llama), info, {CardFormat::HuggingFace, "float32", "model.safetensors", "abc", 7});
  EXPECT_EQ(card.rfind("---\nmodel_name: \"x\\n---\\nlicense: evil\"\nlicense: gemma\n", 0), 0u) << card;
  EXPECT_EQ(card.find("\nlicense: evil"), std::string::npos);
  EXPECT_EQ(card.find("\n# not a heading"), std::string::npos);
  EXPECT_NE(card.find("| parameters | 7"), std::string::npos);
  EXPECT_NE(card.find("keeps its licence (gemma)"), std::string::npos);
}

TEST(ModelCard, OfAGgufSaysItsTypesItsFallbacksAndHowToRunIt) {
  const TestFolder folder("gguf_card_test");
  std::ofstream(folder / "nano.gguf") << "GGUF";
  QuantizedModel model{tiny(Family::Llama), {}, {}};
  model.plan.name = "IQ4_NL";
  ExportInfo info = some_info();
  info.notes = {"blk.0.attn_q.weight: Q4_K -> Q5_0 (576 columns do not divide by 256)"};
  write_gguf_card(folder / "nano.gguf", model, info);
  const std::string card = read_file(folder / "README.md");
  for (const std::string text :
       {"model_name: nano\n", "base_model_relation: quantized\n", "- gguf\n", "IQ4_NL, 4 bytes in `nano.gguf`",
        "- blk.0.attn_q.weight: Q4_K -> Q5_0", "attar-run chat nano.gguf"})
    EXPECT_NE(card.find(text), std::string::npos) << text << "\n" << card;
  EXPECT_NE(card.find(sha256_of_file(folder / "nano.gguf")), std::string::npos);
  EXPECT_EQ(card.find("AutoModelForCausalLM"), std::string::npos);
}

TEST(HfExport, NumbersThatAreNoneOrTooLargeAreRefused) {
  const TestFolder folder("hf_refused_test");
  const TokenizerData tokenizer = tiny_tokenizer(tiny(Family::Llama).vocab_size);
  for (const float value : {std::nanf(""), 3.4e38f}) {
    const CausalLM model = random_model(tiny(Family::Llama));
    model.parameters.at("blk.1.ffn_up.weight").mutable_data_ptr<float>()[3] = value;
    const std::string said = error_of([&] { export_hf(folder / "out", model, tokenizer, some_info(), "bfloat16"); });
    EXPECT_NE(said.find("blk.1.ffn_up.weight"), std::string::npos) << said;
    EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
  }
}

// 8-bit linears beside float32; `spoiled` begins with what is no number: its scale, or its value.
QuantizedModel eight_bits(const ModelConfig& config, const std::string& spoiled) {
  const Weights weights = random_weights(config, 3);
  QuantizedModel model{.config = config, .plan = {}, .tensors = {}};
  for (const TensorSpec& spec : tensor_specs(config)) {
    const bool linear = spec.is_matrix() && spec.layer >= 0;
    const QuantFormat& format = format_of(linear ? TensorType::Q8_0 : TensorType::F32);
    const int64_t blocks = spec.elements() / format.block_size;
    QuantizedTensor tensor{.type = format.type,
                           .shape = spec.shape,
                           .bytes = std::vector<std::byte>(static_cast<size_t>(blocks * format.block_bytes))};
    format.encode(weights.at(spec.name).data(), blocks, tensor.bytes.data());
    if (spec.name == spoiled) {  // the upper half of a NaN's bits, as F16 or F32 has them
      const size_t upper = linear ? size_t{0} : size_t{2};
      tensor.bytes[upper] = std::byte{0xc1}, tensor.bytes[upper + 1] = std::byte{0x7f};
    }
    model.tensors[spec.name] = std::move(tensor);
  }
  return model;
}

TEST(CompressedTensors, WhatIsNoNumberIsRefusedWithItsTensor) {
  const TestFolder folder("packed_refused_test");
  ModelConfig config = tiny(Family::Llama);
  config.width = 32;
  config.layers.assign(2, {LayerKind::FullAttention, 4, 2, 8, 64});
  const TokenizerData tokenizer = tiny_tokenizer(config.vocab_size);
  const auto said = [&](const std::string& spoiled) {
    return error_of(
        [&] { export_compressed_tensors(folder / "out", eight_bits(config, spoiled), tokenizer, some_info()); });
  };
  for (const char* name : {"blk.1.ffn_up.weight", "token_embd.weight"}) {
    EXPECT_NE(said(name).find(name), std::string::npos) << said(name);
    EXPECT_NE(said(name).find("not finite"), std::string::npos) << said(name);
    EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
  }
  EXPECT_EQ(said(""), "");
  const std::string card = read_file(folder / "out/README.md");
  for (const char* text : {"base_model_relation: quantized\n", "# pip install compressed-tensors\n"})
    EXPECT_NE(card.find(text), std::string::npos) << text << card;
}

TEST(Manifest, ListsEveryFileBelow) {
  const TestFolder folder("manifest_test");
  std::filesystem::create_directories(folder / "hf");
  std::ofstream(folder / "model.gguf") << "GGUF";
  std::ofstream(folder / "hf/config.json") << "{}";
  std::ofstream(folder / "left.tmp-123") << "x";
  write_manifest(folder.path());
  const std::string first = read_file(folder / "manifest.json");
  write_manifest(folder.path());
  EXPECT_EQ(read_file(folder / "manifest.json"), first);  // does not list itself
  const auto json = nlohmann::json::parse(first);
  EXPECT_EQ(json["schema_version"], 1);
  ASSERT_EQ(json["files"].size(), 2u);
  EXPECT_EQ(json["files"]["hf/config.json"]["bytes"], 2);
  EXPECT_EQ(json["files"]["model.gguf"]["sha256"], sha256("GGUF"));
  EXPECT_NE(error_of([] { write_manifest("/no/such/folder"); }).find("/no/such/folder"), std::string::npos);
}

}  // namespace
}  // namespace attar
