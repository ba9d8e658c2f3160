// Weights in a file are read as they are needed: the same bits as from memory, and no more than a layer at a time.
#include <ATen/core/Tensor.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>

#include "compress/block_walk.h"
#include "compress/fisher.h"
#include "compress/weight_source.h"
#include "quantize/quantize.h"
#include "runtime/base/error.h"
#include "runtime/formats/row_order.h"
#include "tests/compress/counted_memory.h"
#include "tests/compress/uneven_model.h"

namespace attar {
namespace {

ModelConfig config_of(int n_layers, bool tied) {
  ModelConfig config = uneven_config(Family::Llama, tied);
  config.width = 64;
  config.layers.assign(static_cast<size_t>(n_layers), {LayerKind::FullAttention, 4, 2, 16, 512});
  return config;
}

// The model as a file in memory, F32.
ModelFile file_of(const CausalLM& model, Layout layout = Layout::HuggingFace) {
  ModelFile::Parts parts;
  parts.config = model.config;
  parts.layout = layout;
  for (int64_t i = 0; i < model.config.vocab_size; ++i)
    parts.tokenizer.tokens.push_back({.text = "t" + std::to_string(i)});
  const auto owner = std::make_shared<std::vector<std::vector<std::byte>>>();
  owner->reserve(model.parameters.size());
  for (const TensorSpec& spec : tensor_specs(model.config)) {
    const at::Tensor& tensor = model.parameter(spec.name);
    const auto* bytes = reinterpret_cast<const std::byte*>(tensor.const_data_ptr<float>());
    owner->emplace_back(bytes, bytes + tensor.nbytes());
    parts.tensors[spec.name] = {TensorType::F32, spec.shape, owner->back()};
  }
  parts.owner = owner;
  parts.source = "memory";
  return ModelFile(std::move(parts));
}

std::vector<TokenBatch> texts() {
  return batches_in_order(uneven_text(6, 30), 64, 64);
}

QuantizeOptions options_of(const char* method) {
  QuantizeOptions options;
  options.preset = method;
  options.target_bpw = 5.0;
  return options;
}

TEST(WeightSource, RowsOfAFileAreThoseOfItsTensors) {
  const CausalLM model = CausalLM::random(config_of(2, false), 3);
  for (const Layout layout : {Layout::HuggingFace, Layout::Gguf}) {
    const ModelFile file = file_of(model, layout);
    for (const TensorSpec& spec : tensor_specs(model.config)) {
      const auto* stored = model.parameter(spec.name).const_data_ptr<float>();
      std::vector<float> expected(stored, stored + spec.elements());
      const bool turned = layout == Layout::Gguf && (spec.role == Role::Query || spec.role == Role::Key);
      if (turned) {
        const auto halves =
            reordered_rows(std::as_bytes(std::span(expected)), spec.shape[0] / 16, 16, RowOrder::Halves);
        std::memcpy(expected.data(), halves.data(), halves.size());
      }
      EXPECT_EQ(file.values(spec), expected) << spec.name;
      if (!spec.is_matrix()) continue;
      std::vector<float> rows(static_cast<size_t>(5 * spec.shape[1]));
      WeightSource(file).read_rows(spec, 19, rows);
      EXPECT_TRUE(std::equal(rows.begin(), rows.end(), expected.begin() + 19 * spec.shape[1])) << spec.name;
    }
  }
}

TEST(Streaming, AFileGivesTheBytesThatTheModelInMemoryDoes) {
  for (const bool tied : {true, false}) {
    const CausalLM model = CausalLM::random(config_of(3, tied), 3);
    const ModelFile file = file_of(model);
    for (const char* method : {"best", "fast"}) {
      const QuantizedModel one = quantize(file, options_of(method), {}, uneven_text(6, 30), 1),
                           two = quantize(model, options_of(method), {}, uneven_text(6, 30), 2);
      for (const auto& [name, tensor] : one.tensors) {
        EXPECT_EQ(tensor.type, two.tensors.at(name).type) << name;
        EXPECT_EQ(tensor.bytes, two.tensors.at(name).bytes) << name;
        EXPECT_EQ(tensor.relative_error, two.tensors.at(name).relative_error) << name;
      }
    }
  }
}

TEST(Streaming, ValuesThatAreNoNumbersAreNamedWithTheirPlace) {
  CausalLM model = CausalLM::random(config_of(2, true), 3);
  model.parameters.at("blk.1.ffn_up.weight").mutable_data_ptr<float>()[70 * 64 + 5] =
      std::numeric_limits<float>::quiet_NaN();
  const ModelFile file = file_of(model);
  for (const char* method : {"best", "none"}) {
    QuantizeOptions options = options_of("best");
    options.importance = std::string(method) == "best";
    try {
      quantize(file, options, {}, uneven_text(6, 30), 2);
      ADD_FAILURE() << method;
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find("blk.1.ffn_up.weight"), std::string::npos) << error.what();
      EXPECT_NE(std::string(error.what()).find("at element 4485"), std::string::npos) << error.what();
    }
  }
}

constexpr int64_t kLayerBytes = 4 * (3 * 64 * 64 + 3 * 64 * 512);  // but for its norms

// Peak of LibTorch's tensors while work(weights) runs on a file of so many layers.
template <class Work>
int64_t peak_of(int n_layers, const Work& work) {
  const ModelFile file = file_of(CausalLM::random(config_of(n_layers, true), 3));
  const CountedMemory memory;
  work(WeightSource(file));
  return memory.peak_bytes();
}

TEST(Streaming, AWalkHoldsOneLayer) {
  const auto walk = [](const WeightSource& weights) {
    const OwnVocabulary own = own_vocabulary(texts());
    const TensorSpec embedding = spec_of(weights.config(), Role::Embedding);
    CausalLM model{weights.config(), {{embedding.name, weights.rows(embedding, own.ids)}}};
    WalkOptions options{.visits = {}, .threads = 1, .weights = &weights};
    for (GroupVisit& group : options.visits) group.kind = GroupVisit::Look;
    walk_blocks(
        model, own.batches, options, [](int64_t, LinearGroup, const LinearStats&) {}, "test");
  };
  peak_of(2, walk);  // what LibTorch sets up once
  EXPECT_LE(peak_of(24, walk), peak_of(4, walk) + kLayerBytes / 8);
  EXPECT_LE(peak_of(24, walk), 4 * kLayerBytes);
}

// Beside the layer: hidden states and what was measured of each, much less than its weights.
TEST(Streaming, FisherAndQuantizeHoldAFewLayers) {
  const auto fisher = [](const WeightSource& weights) { output_fisher(weights, texts(), 1, Precision::Fp32, 1); };
  const auto whole = [](const WeightSource& weights) {
    quantize(weights, options_of("best"), {}, uneven_text(6, 30), 1);
  };
  peak_of(2, whole);  // what LibTorch sets up once
  EXPECT_LE(peak_of(24, fisher), peak_of(4, fisher) + 20 * kLayerBytes / 4);
  EXPECT_LE(peak_of(24, whole), peak_of(4, whole) + 20 * kLayerBytes / 4);
}

}  // namespace
}  // namespace attar
