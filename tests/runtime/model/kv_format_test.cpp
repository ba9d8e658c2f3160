// Keys and values as int8 beside f16.
#include <gtest/gtest.h>

#include "tests/runtime/kernels/kernel_tables.h"
#include "tests/runtime/model/logits_of.h"

namespace attar::runtime {
namespace {

TEST(KvFormat, Int8IsNearF16) {
  ThreadPool pool(2);
  const std::vector<int32_t> tokens = random_tokens(40, 9);
  for (const Family family : kFamilies)
    for (const Isa isa : all_isas()) {
      const TinyOptions options = {.family = family, .matrix_type = TensorType::Q8_0};
      const ModelFile file = tiny_model(tiny_config(options), options);
      const Model halves = Model::load(file, {.isa = isa}, pool);
      const Model codes = Model::load(file, {.isa = isa, .kv = KvFormat::Int8}, pool);
      const Logits a = run(halves, tokens, 40, pool), b = run(codes, tokens, 40, pool);
      const std::vector<std::vector<double>> expected = forward_reference(file, tokens);
      EXPECT_NE(a, b);
      // half a step of 1/127 of each head's largest value, on random weights
      EXPECT_LT(distance(b, expected), distance(a, expected) + 0.02) << describe(options, isa);
    }
}

TEST(KvFormat, TheFilePlansIt) {
  ThreadPool pool(1);
  const TinyOptions options;
  ModelConfig config = tiny_config(options);
  config.kv = KvFormat::Int8;
  const ModelFile file = tiny_model(config, options);
  const Model planned = Model::load(file, {}, pool);
  EXPECT_EQ(planned.kv_format(), KvFormat::Int8);
  EXPECT_EQ(Model::load(file, {.kv = KvFormat::F16}, pool).kv_format(), KvFormat::F16);
  const std::vector<int32_t> tokens = random_tokens(5, 1);
  config.kv = KvFormat::F16;
  const ModelFile plain = tiny_model(config, options);
  EXPECT_EQ(run(planned, tokens, 5, pool), run(Model::load(plain, {.kv = KvFormat::Int8}, pool), tokens, 5, pool));
  const auto bytes = [&](const Model& model) {
    Workspace work(model, pool);
    KvCache cache(model);
    const Row row = {&cache, 1, false};
    forward(model, {&row, 1}, work);
    return static_cast<double>(cache.size_bytes());
  };
  EXPECT_LT(bytes(planned), 0.9 * bytes(Model::load(plain, {}, pool)));
}

// Queries times s, keys over s: no score changes but by how an int8 key is rounded.
TEST(KvFormat, ScalesOfInt8Keys) {
  ThreadPool pool(2);
  const std::vector<int32_t> tokens = random_tokens(40, 9);
  for (const Family family : kFamilies)
    for (const Isa isa : all_isas()) {
      const TinyOptions options = {.family = family, .matrix_type = TensorType::Q8_0};
      ModelConfig config = tiny_config(options);
      const ModelFile plain = tiny_model(config, options);
      config.key_scales.assign(static_cast<size_t>(config.key_count()), 1.0f);
      const ModelFile ones = tiny_model(config, options);
      for (size_t i = 0; i < config.key_scales.size(); ++i)
        config.key_scales[i] = std::exp2(static_cast<float>(i % 5) - 2.0f);
      const ModelFile scaled = tiny_model(config, options);
      const auto logits = [&](const ModelFile& file, const LoadOptions& way, size_t chunk = 40) {
        LoadOptions there = way;
        there.isa = isa;
        return run(Model::load(file, there, pool), tokens, chunk, pool);
      };
      for (const LoadOptions& way : {LoadOptions{.numerics = Numerics::Fp32}, LoadOptions{.kv = KvFormat::F16}})
        EXPECT_EQ(logits(scaled, way), logits(plain, way)) << describe(options, isa);
      const LoadOptions int8{.kv = KvFormat::Int8};
      const Logits a = logits(plain, int8), b = logits(scaled, int8);
      EXPECT_EQ(logits(ones, int8), a);
      EXPECT_NE(b, a);
      EXPECT_EQ(logits(scaled, int8, 3), b);
      const std::vector<std::vector<double>> expected = forward_reference(plain, tokens);
      EXPECT_LT(distance(b, expected), distance(a, expected) + 0.02) << describe(options, isa);
    }
}

}  // namespace
}  // namespace attar::runtime
