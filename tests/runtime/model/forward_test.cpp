// forward() against a plain implementation in double, for every family and tensor type; and its promise that batches,
// chunks and threads never change a bit.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "runtime/base/error.h"
#include "runtime/base/random.h"
#include "runtime/kernels/vocabulary_math.h"
#include "runtime/model/model.h"
#include "tests/runtime/kernels/kernel_tables.h"
#include "tests/runtime/model/logits_of.h"

namespace attar::runtime {
namespace {

TEST(Forward, EveryFamilyMatchesThePlainImplementation) {
  ThreadPool pool(2);
  const std::vector<int32_t> tokens = random_tokens(21, 3);
  for (const Family family : kFamilies)
    for (const Layout layout : {Layout::Gguf, Layout::HuggingFace})
      for (const bool tied : {true, false}) {
        const TinyOptions options = {.family = family, .layout = layout, .tied = tied};
        ModelConfig config = tiny_config(options);
        if (!tied) config.layers[1] = config.layers[2] = config.layers[0];  // all layers alike, and files pair as usual
        const ModelFile file = tiny_model(config, options);
        const auto expected = forward_reference(file, tokens);
        for (const Isa isa : all_isas()) {
          const Model model = Model::load(file, {Numerics::Fp32, isa}, pool);
          // f32 against double, as a share of the logit scale
          EXPECT_LT(distance(run(model, tokens, 64, pool), expected), 1e-5) << describe(options, isa);
        }
      }
}

TEST(Forward, EveryTensorTypeMatches) {
  ThreadPool pool(1);
  const std::vector<int32_t> tokens = random_tokens(5, 4);
  int types = 0;
  for (const QuantFormat& format : quant_formats()) {
    if (format.decode == nullptr || (format.block_size == 1 && format.block_bytes == 8)) continue;
    if (format.type == TensorType::I8 || format.type == TensorType::I16 || format.type == TensorType::I32) continue;
    ++types;
    const TinyOptions options = {.matrix_type = format.type, .embedding_type = format.type};
    const ModelFile file = tiny_model(tiny_config(options), options);
    const auto expected = forward_reference(file, tokens);
    for (const Isa isa : all_isas()) {
      const Model exact = Model::load(file, {Numerics::Fp32, isa}, pool);
      EXPECT_LT(distance(run(exact, tokens, 64, pool), expected), 1e-5) << describe(options, isa);
      const Model deployed = Model::load(file, {Numerics::Deployed, isa}, pool);
      // int8 activations: half a step of 1/127 a layer on random weights
      EXPECT_LT(distance(run(deployed, tokens, 64, pool), expected), 0.05) << describe(options, isa);
    }
  }
  EXPECT_GE(types, 6);
}

TEST(Forward, ChunksAndThreadsNeverChangeABit) {
  const std::vector<int32_t> tokens = random_tokens(37, 5);
  for (const Family family : kFamilies)
    for (const Numerics numerics : {Numerics::Fp32, Numerics::Deployed})
      for (const Isa isa : all_isas()) {
        const TinyOptions options = {.family = family, .matrix_type = TensorType::Q8_0};
        const ModelFile file = tiny_model(tiny_config(options), options);
        ThreadPool one(1);
        const Model model = Model::load(file, {numerics, isa}, one);
        const Logits expected = run(model, tokens, 37, one);
        for (const int n_threads : {1, 2, 3}) {
          ThreadPool pool(n_threads);
          for (const size_t chunk : {1, 2, 3, 5, 8, 9, 16, 17, 37})
            EXPECT_EQ(run(model, tokens, chunk, pool), expected)
                << describe(options, isa) << ", chunks of " << chunk << ", " << n_threads << " threads";
        }
      }
}

TEST(Forward, BatchesNeverChangeABit) {
  for (const Family family : kFamilies)
    for (const Numerics numerics : {Numerics::Fp32, Numerics::Deployed}) {
      const TinyOptions options = {.family = family, .matrix_type = TensorType::Q8_0};
      const ModelFile file = tiny_model(tiny_config(options), options);
      ThreadPool pool(2);
      const Model model = Model::load(file, {numerics}, pool);
      std::vector<std::vector<int32_t>> texts;
      std::vector<Logits> alone;
      for (const int64_t n : {9, 1, 23, 4}) {
        texts.push_back(random_tokens(n, 100 + static_cast<uint64_t>(n)));
        alone.push_back(run(model, texts.back(), 64, pool));
      }
      Workspace work(model, pool);
      std::vector<KvCache> caches;
      for (size_t i = 0; i < texts.size(); ++i) caches.emplace_back(model);
      std::vector<Logits> together(texts.size());
      std::vector<size_t> at(texts.size(), 0);
      for (size_t step = 1; at != std::vector<size_t>{9, 1, 23, 4}; ++step) {  // step tokens of each
        std::vector<Row> rows;
        std::vector<size_t> owners;
        for (size_t s = 0; s < texts.size(); ++s)
          for (size_t i = 0; i < step && at[s] < texts[s].size(); ++i) {
            rows.push_back({&caches[s], texts[s][at[s]++], true});
            owners.push_back(s);
          }
        forward(model, rows, work);
        for (size_t i = 0; i < rows.size(); ++i) {
          const auto row = work.logits(static_cast<int64_t>(i));
          together[owners[i]].emplace_back(row.begin(), row.end());
        }
      }
      EXPECT_EQ(together, alone) << traits(family).name;
    }
}

// Past the 256 positions of a chunk of the cache, and past the rows of one pass.
TEST(Forward, LongSequences) {
  const std::vector<int32_t> tokens = random_tokens(530, 6);
  for (const Family family : {Family::Llama, Family::Gemma3}) {
    const TinyOptions options = {.family = family};
    ModelConfig config = tiny_config(options);
    config.layers.resize(family == Family::Gemma3 ? 3 : 1);
    if (family == Family::Gemma3) config.sliding_window = 100;
    const ModelFile file = tiny_model(config, options);
    ThreadPool pool(2);
    const Model model = Model::load(file, {Numerics::Fp32}, pool);
    const Logits whole = run(model, tokens, 530, pool);
    EXPECT_LT(distance(whole, forward_reference(file, tokens)), 1e-5) << traits(family).name;
    EXPECT_EQ(run(model, tokens, 1, pool), whole);
    const Model deployed = Model::load(file, {Numerics::Deployed}, pool);
    EXPECT_EQ(run(deployed, tokens, 1, pool), run(deployed, tokens, 111, pool));
  }
}

// How a model may be run, and so what must not change a bit.
std::vector<LoadOptions> ways() {
  return {{.numerics = Numerics::Fp32}, {.kv = KvFormat::F16}, {.kv = KvFormat::Int8}};
}

// Where attention is shared out by chunks of keys: one row, and a few.
TEST(Forward, FewRowsFarIntoASequence) {
  const std::vector<int32_t> tokens = random_tokens(545, 8);
  for (const Family family : {Family::Llama, Family::Gemma3})
    for (const LoadOptions& way : ways()) {
      const TinyOptions options = {.family = family, .matrix_type = TensorType::Q8_0};
      ModelConfig config = tiny_config(options);
      config.layers.resize(family == Family::Gemma3 ? 3 : 1);
      if (family == Family::Gemma3) config.sliding_window = 300;
      const ModelFile file = tiny_model(config, options);
      ThreadPool one(1);
      const Model model = Model::load(file, way, one);
      const Logits whole = run(model, tokens, 545, one);
      for (const int n_threads : {1, 2, 3}) {
        ThreadPool pool(n_threads);
        for (const size_t chunk : {1, 3, 16, 100})
          EXPECT_EQ(run(model, tokens, chunk, pool), whole)
              << traits(family).name << ", kv " << name_of(model.kv_format()) << ", chunks of " << chunk << ", "
              << n_threads << " threads";
      }
    }
}

TEST(Forward, OnlyAskedRowsGetLogits) {
  const TinyOptions options;
  const ModelFile file = tiny_model(tiny_config(options), options);
  ThreadPool pool(2);
  const Model model = Model::load(file, {Numerics::Fp32}, pool);
  const std::vector<int32_t> tokens = random_tokens(6, 7);
  const Logits all = run(model, tokens, 6, pool);
  Workspace work(model, pool);
  KvCache cache(model);
  std::vector<Row> rows;
  for (size_t i = 0; i < tokens.size(); ++i) rows.push_back({&cache, tokens[i], i == 2 || i == 5});
  forward(model, rows, work);
  for (const auto& [asked, position] : {std::pair{0, 2}, {1, 5}}) {
    const auto row = work.logits(asked);
    EXPECT_EQ(std::vector<float>(row.begin(), row.end()), all[static_cast<size_t>(position)]);
    EXPECT_EQ(work.hidden(asked).size(), static_cast<size_t>(model.config().width));
  }
}

TEST(Forward, HiddenStatesAlone) {
  ThreadPool pool(2);
  const Model model = Model::load(tiny_model(tiny_config({}), {}), {}, pool);
  Workspace work(model, pool);
  const std::vector<int32_t> tokens = random_tokens(5, 4);
  std::vector<std::vector<float>> states[2];
  for (const Answers answers : {Answers::Logits, Answers::Hidden}) {
    KvCache cache(model);
    std::vector<Row> rows;
    for (const int32_t token : tokens) rows.push_back({&cache, token, true});
    forward(model, rows, work, {}, answers);
    for (int64_t row = 0; row < 5; ++row) {
      const auto state = work.hidden(row);
      states[static_cast<size_t>(answers)].emplace_back(state.begin(), state.end());
    }
  }
  EXPECT_EQ(states[0], states[1]);
  EXPECT_THROW(work.hidden(5), Error);
  EXPECT_THROW(work.logits(0), Error) << "those of the call before";
}

// Asks every `step`-th row of 600, and compares what was found out about its logits with the logits themselves.
void expect_sums(const Model& model, const std::vector<int32_t>& tokens, size_t chunk, size_t step, ThreadPool& pool,
                 const Logits& expected) {
  Workspace work(model, pool);
  KvCache cache(model);
  size_t next = 0;
  for (size_t at = 0; at < tokens.size(); at += chunk) {
    std::vector<Row> rows;
    for (size_t i = at; i < std::min(at + chunk, tokens.size()); ++i)
      rows.push_back({&cache, tokens[i], i % step == 0});
    forward(model, rows, work, {}, Answers::Summed);
    const int64_t asked = std::count_if(rows.begin(), rows.end(), [](const Row& row) { return row.wants_logits; });
    for (int64_t i = 0; i < asked; ++i, ++next) {
      const SummedLogits row = work.summed(i);
      const std::vector<float> logits(row.values.begin(), row.values.end());
      ASSERT_EQ(logits, expected[next]) << next;
      ASSERT_EQ(row.lse, log_sum_exp(logits)) << next;
      std::vector<float> maxima(static_cast<size_t>(logit_blocks(model.config().vocab_size)));
      block_maxima(logits, maxima.data());
      ASSERT_EQ(std::vector<float>(row.maxima.begin(), row.maxima.end()), maxima) << next;
      ASSERT_EQ(argmax(logits, row.maxima), argmax(logits)) << next;
    }
  }
  EXPECT_EQ(next, expected.size());
}

TEST(Forward, WhatThreadsFindOutAboutLogitsIsTheSameToTheBit) {
  const std::vector<int32_t> tokens = random_tokens(600, 8);
  for (const TensorType type : {TensorType::F32, TensorType::Q8_0}) {
    const TinyOptions options = {.matrix_type = type, .embedding_type = type};
    ModelConfig config = tiny_config(options);
    config.vocab_size = 9001;  // three chunks of sums; the last block has 41 logits, the last tile 9
    const ModelFile file = tiny_model(config, options);
    ThreadPool one(1);
    const Model model = Model::load(file, {}, one);
    const Logits all = run(model, tokens, 512, one);
    for (const int n_threads : {1, 2, 7}) {
      ThreadPool pool(n_threads);
      for (const auto& [chunk, step] : {std::pair<size_t, size_t>{1, 40}, {3, 2}, {17, 5}, {64, 1}, {600, 50}}) {
        Logits expected;
        for (size_t i = 0; i < all.size(); i += step) expected.push_back(all[i]);
        expect_sums(model, tokens, chunk, step, pool, expected);
      }
    }
  }
}

TEST(Forward, ForksAndTruncatesTheCache) {
  const TinyOptions options;
  const ModelFile file = tiny_model(tiny_config(options), options);
  ThreadPool pool(1);
  const Model model = Model::load(file, {}, pool);
  Workspace work(model, pool);
  const auto step = [&](KvCache& cache, int32_t token) {
    const Row row = {&cache, token, true};
    forward(model, {&row, 1}, work);
    const auto logits = work.logits(0);
    return std::vector<float>(logits.begin(), logits.end());
  };
  KvCache cache(model);
  step(cache, 3);
  step(cache, 4);
  KvCache fork(cache);
  const std::vector<float> expected = step(cache, 5);
  step(cache, 6);
  EXPECT_EQ(step(fork, 5), expected);
  cache.truncate(2);
  EXPECT_EQ(cache.length_tokens(), 2);
  EXPECT_EQ(step(cache, 5), expected);
  const uint64_t one_chunk_bytes = cache.size_bytes();
  const Row many = {&cache, 7, true};
  for (int i = 0; i < 260; ++i) forward(model, {&many, 1}, work);  // past the first chunk of 256
  EXPECT_EQ(cache.size_bytes() % one_chunk_bytes, 0u);
  EXPECT_GE(cache.size_bytes(), 2 * one_chunk_bytes);
}

template <class F>
Error expect_error(F run_it) {
  try {
    run_it();
  } catch (const Error& error) {
    return error;
  }
  ADD_FAILURE() << "no Error";
  return input_error("", "");
}

TEST(Forward, RefusesBadTokensAndLongSequences) {
  const TinyOptions options;
  ModelConfig config = tiny_config(options);
  config.context_length = 3;
  const ModelFile file = tiny_model(config, options);
  ThreadPool pool(1);
  const Model model = Model::load(file, {}, pool);
  Workspace work(model, pool);
  KvCache cache(model);
  for (const int32_t token : {-1, 32}) {
    const Row row = {&cache, token, true};
    const Error error = expect_error([&] { forward(model, {&row, 1}, work); });
    EXPECT_EQ(error.kind(), ErrorKind::Input);
    EXPECT_EQ(error.parts().got, std::to_string(token));
  }
  const std::vector<Row> four(4, Row{&cache, 1, false});
  EXPECT_EQ(expect_error([&] { forward(model, four, work); }).parts().where, "sequence");
  EXPECT_EQ(cache.length_tokens(), 0);  // nothing was advanced
}

TEST(Forward, RefusesWeightsThatAreNotNumbers) {
  ThreadPool pool(2);
  for (const TensorType type : {TensorType::F32, TensorType::F16, TensorType::Q8_0})
    for (const char* name : {"blk.1.ffn_up.weight", "token_embd.weight", "blk.0.attn_norm.weight"})
      for (const bool tied : {true, false}) {
        const TinyOptions options = {.matrix_type = type, .embedding_type = type, .tied = tied};
        const ModelFile file = tiny_model(tiny_config(options), options);
        const StoredTensor& tensor = file.tensor(name);
        std::vector<std::byte> unused;
        auto* bytes = const_cast<std::byte*>(tensor.bytes.read(unused).data());  // the test's own memory
        const float nan = std::numeric_limits<float>::quiet_NaN();
        const uint16_t infinity = 0x7c00;
        if (tensor.type == TensorType::F32)
          std::memcpy(bytes + 4 * 7, &nan, 4);
        else
          std::memcpy(bytes + (type == TensorType::F16 ? 14 : 34), &infinity, 2);
        for (const Numerics numerics : {Numerics::Fp32, Numerics::Deployed}) {
          const Error error = expect_error([&] { Model::load(file, {numerics}, pool); });
          EXPECT_EQ(error.kind(), ErrorKind::Input);
          EXPECT_EQ(error.parts().where, name);
        }
      }
}

}  // namespace
}  // namespace attar::runtime
