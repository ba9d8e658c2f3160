// Models as people have them: heads that are tied or not, buffers of old dumps, files in parts, pointers in their
// place.
#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <fstream>

#include "runtime/base/atomic_file.h"
#include "runtime/base/input_file.h"
#include "runtime/formats/container/safetensors.h"
#include "runtime/formats/model_file.h"
#include "tests/formats/tiny_files.h"

namespace attar {
namespace {

class ModelVariants : public testing::Test {
 protected:
  TestFolder folder_{"model_variants_test"};
  ModelConfig config_ = tiny(Family::Llama);
  Weights weights_ = random_weights(config_, 1);

  void SetUp() override { write_hf_directory(folder_.path(), config_, weights_); }
  std::vector<SafeTensor> tensors() const {
    std::vector<SafeTensor> list;
    for (const TensorSpec& spec : tensor_specs(config_))
      list.push_back({spec.hf_name, TensorType::F32, spec.shape, std::as_bytes(std::span(weights_.at(spec.name)))});
    return list;
  }
  ModelFile opened_with(const std::vector<SafeTensor>& list) const {
    write_safetensors(folder_ / "model.safetensors", list);
    return ModelFile::open(folder_.path());
  }
  SafeTensor head(const std::vector<float>& values) const {
    return {"lm_head.weight", TensorType::F32, {config_.vocab_size, config_.width}, std::as_bytes(std::span(values))};
  }
};

TEST_F(ModelVariants, AHeadThatIsTheEmbeddingIsACopy) {
  ASSERT_TRUE(config_.tied_embeddings);
  std::vector<SafeTensor> list = tensors();
  list.push_back(head(weights_.at("token_embd.weight")));
  const ModelFile file = opened_with(list);
  EXPECT_EQ(file.config(), config_);
  EXPECT_TRUE(file.notes().empty());
}

TEST_F(ModelVariants, AHeadThatDiffersIsUsedUntied) {
  std::vector<float> values = weights_.at("token_embd.weight");
  values.back() += 1.0f;
  std::vector<SafeTensor> list = tensors();
  list.push_back(head(values));
  const ModelFile file = opened_with(list);
  EXPECT_FALSE(file.config().tied_embeddings);
  EXPECT_EQ(file.values(tensor_specs(file.config()).back()), values);
  ASSERT_EQ(file.notes().size(), 1u);
  EXPECT_NE(file.notes()[0].find("lm_head.weight is another matrix"), std::string::npos);
}

TEST_F(ModelVariants, TheHeadAloneIsTheEmbedding) {
  std::vector<SafeTensor> list = tensors();
  list.front().name = "lm_head.weight";
  const ModelFile file = opened_with(list);
  EXPECT_EQ(file.config(), config_);
  EXPECT_EQ(file.values(tensor_specs(config_).front()), weights_.at("token_embd.weight"));
}

TEST_F(ModelVariants, NamesWithoutTheWrappersPrefix) {
  std::vector<SafeTensor> list = tensors();
  for (SafeTensor& tensor : list) tensor.name = tensor.name.substr(std::strlen("model."));
  const ModelFile file = opened_with(list);
  for (const TensorSpec& spec : tensor_specs(config_)) EXPECT_EQ(file.values(spec), weights_.at(spec.name));
  list.front().name = "model." + list.front().name;  // a mixture is no model
  EXPECT_NE(error_of([&] { opened_with(list); }).find("missing"), std::string::npos);
}

TEST_F(ModelVariants, BooleanBuffersAreNoWeights) {
  std::vector<SafeTensor> list = tensors();
  const std::vector<std::byte> mask(64, std::byte{1});
  list.push_back({"model.layers.0.self_attn.bias", TensorType::I8, {1, 1, 8, 8}, mask});
  EXPECT_NE(error_of([&] { opened_with(list); }).find("unknown  model.layers.0.self_attn.bias"), std::string::npos);
  std::string file = read_file(folder_ / "model.safetensors");
  const std::string i8 = "\"dtype\":\"I8\"";
  file.replace(file.find(i8), i8.size() + 0, "\"dtype\":\"BOOL\"");
  uint64_t header_bytes = 0;
  std::memcpy(&header_bytes, file.data(), 8);
  header_bytes += 2;  // the longer name
  std::memcpy(file.data(), &header_bytes, 8);
  std::ofstream(folder_ / "model.safetensors", std::ios::binary) << file;
  EXPECT_EQ(ModelFile::open(folder_.path()).config(), config_);
}

TEST_F(ModelVariants, AnIndexMayNameWhatWasLeftOut) {
  std::filesystem::rename(folder_ / "model.safetensors", folder_ / "a.safetensors");
  std::string map;
  for (const TensorSpec& spec : tensor_specs(config_)) map += "\"" + spec.hf_name + "\": \"a.safetensors\", ";
  const auto open = [&](const std::string& more) {
    std::ofstream(folder_ / "model.safetensors.index.json") << "{\"weight_map\": {" << map << more << "}}";
    return error_of([&] { ModelFile::open(folder_.path()); });
  };
  EXPECT_EQ(open(R"("lm_head.weight": "a.safetensors")"), "");
  EXPECT_NE(open(R"("model.layers.7.mlp.up_proj.weight": "a.safetensors")").find("puts tensor"), std::string::npos);
}

TEST_F(ModelVariants, GitLfsPointersAreNamed) {
  const std::string pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 1024\n";
  std::ofstream(folder_ / "model.gguf") << pointer;
  EXPECT_NE(error_of([&] { ModelFile::open(folder_ / "model.gguf"); }).find("is a Git LFS pointer"), std::string::npos);
  for (const char* name : {"model.safetensors", "tokenizer.json", "config.json"}) {
    write_hf_directory(folder_.path(), config_, weights_);
    std::ofstream(folder_ / name) << pointer;
    const std::string message = error_of([&] { ModelFile::open(folder_.path()); });
    EXPECT_NE(message.find(std::string(name) + ": is a Git LFS pointer"), std::string::npos) << message;
  }
}

TEST_F(ModelVariants, TheFirstKeyOfLinearScaling) {
  GgufParts parts = llama_gguf(config_, weights_);
  parts.entries.push_back({"llama.rope.scale_linear", GgufValue::f32(2.0f)});
  parts.write(folder_ / "a.gguf");
  const auto scaling = ModelFile::open(folder_ / "a.gguf").config().rope_scaling;
  ASSERT_TRUE(scaling.has_value());
  EXPECT_EQ(*scaling, (RopeScaling{.type = "linear", .factor = 2.0}));
}

TEST_F(ModelVariants, KeysThatNobodyReadsAreKept) {
  GgufParts parts = llama_gguf(config_, weights_);
  parts.entries.push_back({"general.description", GgufValue::string("d")});
  parts.entries.push_back({"general.languages", GgufValue::array_of(std::vector<std::string>{"en", "fa"})});
  parts.entries.push_back({"tokenizer.ggml.remove_extra_whitespaces", GgufValue::boolean(false)});
  parts.entries.push_back({"split.count", GgufValue::u16(1)});
  parts.write(folder_ / "a.gguf");
  const ModelFile file = ModelFile::open(folder_ / "a.gguf");
  std::vector<std::string> keys;
  for (const GgufEntry& entry : file.unread())
    if (!entry.key.starts_with("llama.")) keys.push_back(entry.key);
  EXPECT_EQ(keys, (std::vector<std::string>{"general.description", "tokenizer.ggml.remove_extra_whitespaces"}));
  EXPECT_EQ(file.provenance().languages, (std::vector<std::string>{"en", "fa"}));
}

class SplitGguf : public ModelVariants {
 protected:
  std::vector<std::string> paths_;

  // The model's file and the same in parts of at most `limit_bytes`.
  void write_parts(uint64_t limit_bytes) {
    llama_gguf(config_, weights_).write(folder_ / "whole.gguf");
    const GgufFile whole = GgufFile::open(folder_ / "whole.gguf");
    paths_ = write_gguf_split(folder_ / "m.gguf", whole.entries(), whole.tensors(), limit_bytes);
  }
};

TEST_F(SplitGguf, IsReadWholeFromAnyPart) {
  write_parts(4096);
  ASSERT_GT(paths_.size(), 3u);
  EXPECT_EQ(gguf_part_path("a/m.gguf", 2, 3), "a/m-00002-of-00003.gguf");  // llama.cpp's names
  ASSERT_EQ(paths_[1], gguf_part_path(folder_ / "m.gguf", 2, paths_.size()));
  const std::string hash = ModelFile::open(folder_ / "whole.gguf").content_hash();
  uint64_t bytes = 0;
  for (const std::string& path : paths_) {
    EXPECT_EQ(ModelFile::open(path).content_hash(), hash);
    bytes += std::filesystem::file_size(path);
    EXPECT_LE(std::filesystem::file_size(path), 4096u);
  }
  EXPECT_EQ(ModelFile::open(paths_[0]).size_bytes(), bytes);
}

TEST_F(SplitGguf, OfMemoryItIsOneFile) {
  write_parts(4096);
  const std::string whole = read_file(folder_ / "whole.gguf"), part = read_file(paths_[0]);
  const auto in_memory = [](const std::string& bytes) {
    return InputFile::of_memory(std::as_bytes(std::span(bytes)), "in memory");
  };
  const ModelFile file = ModelFile::open(in_memory(whole));
  EXPECT_EQ(file.content_hash(), ModelFile::open(folder_ / "whole.gguf").content_hash());
  EXPECT_EQ(file.source(), "in memory");
  EXPECT_EQ(file.size_bytes(), whole.size());
  EXPECT_EQ(file.notes(), ModelFile::open(folder_ / "whole.gguf").notes());
  EXPECT_NE(error_of([&] { ModelFile::open(in_memory(part)); }).find("in memory: is one of"), std::string::npos);
  for (const size_t cut : {size_t{0}, size_t{3}, size_t{24}, whole.size() / 2, whole.size() - 1}) {
    const std::string damaged = whole.substr(0, cut);
    EXPECT_NE(error_of([&] { ModelFile::open(in_memory(damaged)); }), "") << cut;
  }
}

TEST_F(SplitGguf, AllInOneFileKeepsItsName) {
  write_parts(uint64_t{1} << 30);
  EXPECT_EQ(paths_, std::vector<std::string>{folder_ / "m.gguf"});
  EXPECT_EQ(read_file(paths_[0]), read_file(folder_ / "whole.gguf"));
}

TEST_F(SplitGguf, WhatDoesNotFitTogetherIsNamed) {
  write_parts(4096);
  const auto fault = [&](const std::string& path) { return error_of([&] { ModelFile::open(path); }); };
  std::filesystem::copy_file(paths_[0], folder_ / "alone.gguf");
  EXPECT_NE(fault(folder_ / "alone.gguf").find("its name does not say where the others are"), std::string::npos);
  const std::string second = read_file(paths_[1]);
  std::filesystem::remove(paths_[1]);
  EXPECT_NE(fault(paths_[0]).find("one is missing (expected " + paths_[1]), std::string::npos) << fault(paths_[0]);
  std::filesystem::copy_file(paths_[2], paths_[1]);
  EXPECT_NE(fault(paths_[0]).find(paths_[1] + ": is another part than its name says"), std::string::npos);
  std::ofstream(paths_[1], std::ios::binary) << second.substr(0, second.size() / 2);
  EXPECT_NE(fault(paths_[0]).find(paths_[1]), std::string::npos);
  const GgufFile whole = GgufFile::open(folder_ / "whole.gguf");
  write_gguf(paths_[1],
             {{"split.no", GgufValue::u16(1)}, {"split.count", GgufValue::u16(static_cast<uint16_t>(paths_.size()))}},
             {});
  EXPECT_NE(fault(paths_[0]).find("another number of tensors than the first says"), std::string::npos);
}

}  // namespace
}  // namespace attar
