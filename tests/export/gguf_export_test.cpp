#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <filesystem>

#include "export/export.h"
#include "export/gguf_layout.h"
#include "runtime/base/atomic_file.h"
#include "runtime/base/input_file.h"
#include "tests/base/failing_writes.h"
#include "tests/export/stops.h"
#include "tests/formats/tiny_files.h"

namespace attar {
namespace {

// Widths that blocks of 32 divide; the heads stay 8 wide.
ModelConfig wide(ModelConfig config) {
  config.width = 32;
  for (LayerConfig& layer : config.layers) layer.ffn_width = layer.ffn_width * 8;
  return config;
}

// Matrices of the layers in `type` where their rows fit, embeddings Q8_0, the rest F32: by the plain encoders.
QuantizedModel encoded(const ModelConfig& config, const Weights& weights, TensorType type) {
  QuantizedModel model{.config = config, .plan = {}, .tensors = {}};
  model.plan.file_type = gguf_file_type(type);
  for (const TensorSpec& spec : tensor_specs(config)) {
    const QuantFormat& wanted = format_of(!spec.is_matrix() ? TensorType::F32
                                          : spec.layer < 0  ? TensorType::Q8_0
                                                            : type);
    const QuantFormat& format = spec.shape.back() % wanted.block_size == 0 ? wanted : format_of(TensorType::F16);
    const int64_t blocks = spec.elements() / format.block_size;
    QuantizedTensor tensor{.type = format.type, .shape = spec.shape, .bytes = {}};
    tensor.bytes.resize(static_cast<size_t>(blocks * format.block_bytes));
    format.encode(weights.at(spec.name).data(), blocks, tensor.bytes.data());
    model.tensors[spec.name] = std::move(tensor);
  }
  return model;
}

std::vector<float> decoded(const QuantizedTensor& tensor) {
  const QuantFormat& format = format_of(tensor.type);
  const auto blocks = static_cast<int64_t>(tensor.bytes.size()) / format.block_bytes;
  std::vector<float> values(static_cast<size_t>(blocks * format.block_size));
  format.decode(tensor.bytes.data(), blocks, values.data());
  return values;
}

ExportInfo some_info() {
  ExportInfo info;
  info.provenance = {.name = "tiny-nano",
                     .license = "apache-2.0",
                     .license_link = "",
                     .base_models = {"Org/Tiny", "a plain name"},
                     .author = "someone"};
  info.recipe_name = "tiny";
  info.attar_version = "0.1.0";
  return info;
}

struct Case {
  std::string name;
  ModelConfig config;
  const char* architecture;
};

std::vector<Case> cases() {
  std::vector<Case> list;
  for (const FamilyTraits& family : families())
    list.push_back({std::string(family.name), wide(tiny(family.family)), family.name});
  list.push_back({"uneven llama", wide(tiny_uneven(Family::Llama)), "deci"});
  list.push_back({"uneven qwen2", wide(tiny_uneven(Family::Qwen2)), "deci"});
  list.push_back({"uneven qwen3", wide(tiny_uneven(Family::Qwen3)), "openelm"});
  Case untied{"untied uneven llama", wide(tiny_uneven(Family::Llama)), "deci"};
  untied.config.tied_embeddings = false;
  list.push_back(untied);
  Case scaled{"llama with RoPE scaling", wide(tiny(Family::Llama)), "llama"};
  scaled.config.rope_scaling = RopeScaling{
      .type = "llama3", .factor = 8.0, .low_freq_factor = 1.1, .high_freq_factor = 5.0, .original_context_length = 100};
  list.push_back(scaled);
  Case linear{"qwen2 with linear scaling", wide(tiny(Family::Qwen2)), "qwen2"};
  linear.config.rope_scaling = RopeScaling{.type = "linear", .factor = 4.0};
  list.push_back(linear);
  return list;
}

TEST(GgufExport, StoppedAnywhereLosesNothing) {
  const TestFolder folder("gguf_export_test");
  const ModelConfig config = tiny(Family::Llama);
  const QuantizedModel model = encoded(config, random_weights(config, 1), TensorType::Q8_0);
  expect_stops_lose_nothing(folder.path(), [&](const Progress& progress) {
    export_gguf(folder / "m.gguf", model, tiny_tokenizer(config.vocab_size), some_info(), progress);
  });
  const ModelFile file = ModelFile::open(folder / "m.gguf");
  expect_stops_lose_nothing(folder.path(), [&](const Progress& progress) {
    repack_gguf(folder / "again.gguf", file, some_info(), progress);
  });
}

TEST(GgufExport, WhatIsWrittenIsReadBack) {
  const TestFolder folder("gguf_export_test");
  for (const Case& c : cases())
    for (const TensorType type : {TensorType::F32, TensorType::F16, TensorType::Q4_0, TensorType::Q5_1}) {
      const QuantizedModel model = encoded(c.config, random_weights(c.config, 3), type);
      const TokenizerData tokenizer = tiny_tokenizer(c.config.vocab_size);
      const GgufExport written = export_gguf(folder / "m.gguf", model, tokenizer, some_info());
      EXPECT_EQ(written.architecture, c.architecture) << c.name;
      EXPECT_EQ(written.size_bytes, std::filesystem::file_size(folder / "m.gguf"));
      const ModelFile file = ModelFile::open(folder / "m.gguf");
      EXPECT_EQ(file.config(), c.config) << c.name;
      EXPECT_EQ(file.tokenizer().tokens.size(), tokenizer.tokens.size());
      const bool shifted = traits(c.config.family).norm_plus_one;
      for (const TensorSpec& spec : tensor_specs(c.config)) {
        const QuantizedTensor& tensor = model.tensors.at(spec.name);
        EXPECT_EQ(file.tensor(spec.name).type, tensor.type) << spec.name;
        const std::vector<float> got = file.values(spec), expected = decoded(tensor);
        ASSERT_EQ(got.size(), expected.size());
        for (size_t i = 0; i < got.size(); ++i)
          if (shifted && is_norm(spec.role))
            ASSERT_NEAR(got[i], expected[i], 1.2e-7) << c.name << " " << spec.name;  // 1 + w is rounded
          else
            ASSERT_EQ(got[i], expected[i]) << c.name << " " << spec.name << " " << i;
      }
    }
}

TEST(GgufExport, OverheadIsExact) {
  const TestFolder folder("gguf_export_test");
  for (const Case& c : cases()) {
    const QuantizedModel model = encoded(c.config, random_weights(c.config, 3), TensorType::Q4_0);
    const TokenizerData tokenizer = tiny_tokenizer(c.config.vocab_size);
    const uint64_t size_bytes = export_gguf(folder / "m.gguf", model, tokenizer, some_info()).size_bytes;
    uint64_t tensor_bytes = 0;
    for (const auto& [name, tensor] : model.tensors) tensor_bytes += (tensor.bytes.size() + 31) / 32 * 32;
    const uint64_t promised = gguf_plan_target(c.config, tokenizer, some_info()).fixed_bytes + tensor_bytes;
    if (std::string(c.architecture) == "openelm")
      EXPECT_LE(size_bytes, promised);  // three tensors in one are padded once
    else
      EXPECT_EQ(size_bytes, promised) << c.name;
  }
}

TEST(GgufExport, RepackingKeepsEveryBit) {
  const TestFolder folder("gguf_export_test");
  for (const Case& c : cases()) {
    const Weights weights = random_weights(c.config, 4);
    export_gguf(folder / "a.gguf", encoded(c.config, weights, TensorType::Q4_0), tiny_tokenizer(c.config.vocab_size),
                some_info());
    const ModelFile first = ModelFile::open(folder / "a.gguf");
    ExportInfo info;
    info.provenance = first.provenance();
    repack_gguf(folder / "b.gguf", first, info);
    const ModelFile second = ModelFile::open(folder / "b.gguf");
    EXPECT_EQ(second.content_hash(), first.content_hash()) << c.name;
    EXPECT_EQ(second.provenance().name, "tiny-nano");
    EXPECT_EQ(second.provenance().license, "apache-2.0");
    EXPECT_EQ(second.provenance().author, "someone");
    EXPECT_EQ(second.provenance().base_models,
              (std::vector<std::string>{"https://huggingface.co/Org/Tiny", "a plain name"}));

    // From a Hugging Face directory rows are permuted and norms shifted on the way.
    write_hf_directory(folder / "hf", c.config, weights);
    const ModelFile hf = ModelFile::open(folder / "hf");
    const GgufExport packed = repack_gguf(folder / "c.gguf", hf, info);
    EXPECT_EQ(packed.architecture, c.architecture);
    const ModelFile third = ModelFile::open(folder / "c.gguf");
    for (const TensorSpec& spec : tensor_specs(c.config)) {
      if (traits(c.config.family).norm_plus_one && is_norm(spec.role)) continue;
      EXPECT_EQ(third.values(spec), weights.at(spec.name)) << c.name << " " << spec.name;
    }
  }
}

TEST(GgufExport, SameInputSameBytes) {
  const TestFolder folder("gguf_export_test");
  const ModelConfig config = wide(tiny_uneven(Family::Qwen2));
  for (const char* name : {"a.gguf", "b.gguf"})
    export_gguf(folder / name, encoded(config, random_weights(config, 5), TensorType::Q8_0),
                tiny_tokenizer(config.vocab_size), some_info());
  EXPECT_EQ(read_file(folder / "a.gguf"), read_file(folder / "b.gguf"));
}

TEST(GgufExport, KeysThatReadersWant) {
  const TestFolder folder("gguf_export_test");
  const ModelConfig config = wide(tiny(Family::Gemma3));
  export_gguf(folder / "m.gguf", encoded(config, random_weights(config, 6), TensorType::Q4_0),
              tiny_tokenizer(config.vocab_size), some_info());
  const GgufFile file = GgufFile::open(folder / "m.gguf");
  EXPECT_EQ(file.string("general.type"), "model");
  EXPECT_EQ(file.string("general.base_model.0.organization"), "Org");
  EXPECT_EQ(file.string("general.base_model.0.name"), "Tiny");
  EXPECT_EQ(file.string("general.base_model.1.name"), "a plain name");
  EXPECT_EQ(file.find("general.base_model.1.repo_url"), nullptr);
  EXPECT_EQ(file.integer("general.base_model.count"), 2);
  EXPECT_EQ(file.integer("general.quantization_version"), 2);
  EXPECT_EQ(file.integer("general.file_type"), 2);
  EXPECT_EQ(file.integer("gemma3.attention.sliding_window"), 16);
  EXPECT_EQ(file.integer("gemma3.attention.sliding_window_pattern"), 6);
  EXPECT_EQ(file.real("gemma3.rope.freq_base_swa"), 10000.0);
  EXPECT_EQ(file.integer("gemma3.vocab_size"), 24);
  EXPECT_EQ(file.string("attar.recipe"), "tiny");
}

// Scores s * q.k with s from the config equal 1/sqrt(D) * (f q).k with f = s sqrt(D) in the query norm.
TEST(GgufExport, AttentionScaleGoesIntoTheQueryNorms) {
  const TestFolder folder("gguf_export_test");
  ModelConfig config = wide(tiny(Family::Gemma3));
  config.attention_scale = 0.25;
  const Weights weights = random_weights(config, 7);
  export_gguf(folder / "m.gguf", encoded(config, weights, TensorType::F32), tiny_tokenizer(config.vocab_size),
              some_info());
  const ModelFile file = ModelFile::open(folder / "m.gguf");
  EXPECT_EQ(file.config().attention_scale, 0.0);
  for (const TensorSpec& spec : tensor_specs(config))
    if (spec.role == Role::QueryNorm) {
      for (size_t i = 0; i < 8; ++i)
        EXPECT_NEAR(file.values(spec)[i] + 1.0,
                    (static_cast<double>(weights.at(spec.name)[i]) + 1.0) * 0.25 * std::sqrt(8.0), 1e-6);
    }
}

struct Refusal {
  const char* reason;
  ModelConfig config;
};

TEST(GgufExport, WhatNoArchitectureComputesIsRefused) {
  const auto changed = [](ModelConfig config, auto&& change) {
    change(config);
    return config;
  };
  const Refusal refusals[] = {
      {"no architecture of GGUF holds a gemma3", tiny_uneven(Family::Gemma3)},
      {"shares embedding and output",
       changed(tiny_uneven(Family::Qwen3), [](ModelConfig& c) { c.tied_embeddings = false; })},
      {"shares embedding and output", changed(tiny(Family::Gemma3), [](ModelConfig& c) { c.tied_embeddings = false; })},
      {"heads of different widths", changed(tiny(Family::Llama), [](ModelConfig& c) { c.layers[1].head_dim = 4; })},
      {"layer 4 breaks that", changed(tiny(Family::Gemma3), [](ModelConfig& c) { c.layers.erase(c.layers.begin()); })},
      {"layer 0 breaks that",
       changed(tiny(Family::Gemma3), [](ModelConfig& c) { c.layers[0].kind = LayerKind::FullAttention; })},
      {"has no sliding window",
       changed(tiny(Family::Llama), [](ModelConfig& c) { c.layers[0].kind = LayerKind::SlidingAttention; })},
      {"no place for Llama 3's RoPE scaling",
       changed(tiny(Family::Qwen3),
               [](ModelConfig& c) { c.rope_scaling = RopeScaling{.type = "llama3", .factor = 8.0}; })},
      {"fixed attention scale", changed(tiny(Family::Llama), [](ModelConfig& c) { c.attention_scale = 0.5; })},
  };
  const TestFolder folder("gguf_export_test");
  for (const Refusal& refusal : refusals) {
    const QuantizedModel model = encoded(refusal.config, random_weights(refusal.config, 8), TensorType::F16);
    const std::string message =
        error_of([&] { export_gguf(folder / "m.gguf", model, tiny_tokenizer(24), some_info()); });
    EXPECT_NE(message.find(refusal.reason), std::string::npos) << "wanted: " << refusal.reason << "\ngot: " << message;
    EXPECT_FALSE(std::filesystem::exists(folder / "m.gguf"));
  }
  // Five layers of gemma3, none global, are as the pattern wants them.
  ModelConfig five = tiny(Family::Gemma3);
  five.layers.resize(5);
  EXPECT_NO_THROW(gguf_layout(five));
}

TEST(GgufExport, FusedTensorsNeedOneType) {
  const TestFolder folder("gguf_export_test");
  const ModelConfig config = wide(tiny_uneven(Family::Qwen3));
  const Weights weights = random_weights(config, 9);
  QuantizedModel model = encoded(config, weights, TensorType::Q4_0);
  model.tensors["blk.1.attn_v.weight"] = encoded(config, weights, TensorType::Q8_0).tensors["blk.1.attn_v.weight"];
  const std::string message = error_of([&] { export_gguf(folder / "m.gguf", model, tiny_tokenizer(24), some_info()); });
  EXPECT_NE(message.find("expected one type for the three, such as Q4_0, got Q8_0 in blk.1.attn_v.weight"),
            std::string::npos)
      << message;
}

TEST(GgufExport, ABadTokenizerIsRefusedBeforeWriting) {
  const TestFolder folder("gguf_export_test");
  const ModelConfig config = tiny(Family::Llama);
  const QuantizedModel model = encoded(config, random_weights(config, 10), TensorType::F16);
  TokenizerData twice = tiny_tokenizer(24);
  twice.tokens[5].text = twice.tokens[6].text;  // llama.cpp aborts on such a file
  EXPECT_NE(error_of([&] { export_gguf(folder / "m.gguf", model, twice, some_info()); }), "");
  TokenizerData outside = tiny_tokenizer(24);
  outside.eos = 24;
  EXPECT_NE(error_of([&] { export_gguf(folder / "m.gguf", model, outside, some_info()); }), "");
  EXPECT_FALSE(std::filesystem::exists(folder / "m.gguf"));
}

TEST(GgufExport, AFailedWriteLeavesTheOldFile) {
  const TestFolder folder("gguf_export_test");
  const ModelConfig config = tiny(Family::Llama);
  const TokenizerData tokenizer = tiny_tokenizer(24);
  export_gguf(folder / "m.gguf", encoded(config, random_weights(config, 11), TensorType::F16), tokenizer, some_info());
  const std::string before = read_file(folder / "m.gguf");
  int failures = 0;
  for (int64_t n = 1;; ++n) {
    fail_nth_write(n);
    const std::string message = error_of([&] {
      export_gguf(folder / "m.gguf", encoded(config, random_weights(config, 12), TensorType::F16), tokenizer,
                  some_info());
    });
    fail_nth_write(0);
    if (message.empty()) break;
    ++failures;
    const bool written = message.find("was written") != std::string::npos;  // the name's fsync, after the rename
    EXPECT_EQ(read_file(folder / "m.gguf") == before, !written) << "write " << n;
    const auto files =
        std::distance(std::filesystem::directory_iterator(folder.path()), std::filesystem::directory_iterator());
    EXPECT_EQ(files, 1) << "write " << n;
  }
  EXPECT_GE(failures, 4);  // create, write, fsync, rename
  EXPECT_NE(read_file(folder / "m.gguf"), before);
}

}  // namespace
}  // namespace attar
