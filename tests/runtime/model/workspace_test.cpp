// What a pass keeps in memory beside the model and its keys and values.
#include "runtime/model/workspace.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <string>

#include "runtime/base/host/kernel_file.h"
#include "tests/runtime/model/logits_of.h"

namespace attar::runtime {
namespace {

int64_t resident_bytes() {
  return std::strtoll(kernel_value(kernel_file("/proc/self/status"), "VmRSS:").c_str(), nullptr, 10) * 1024;
}

Model wide_model(ThreadPool& pool, TensorType type) {
  const TinyOptions options = {.matrix_type = type};
  ModelConfig config = tiny_config(options);
  for (LayerConfig& layer : config.layers) layer.ffn_width = 4096;
  return Model::load(tiny_model(config, options), {}, pool);
}

// Of 512 rows gate and up are 8 MiB each in f32; the codes of their product are 2 MiB, and as many are their scales.
TEST(Workspace, KeepsOfALongPromptWhatIsTakenAgain) {
  if (resident_bytes() == 0) GTEST_SKIP() << "this system does not say what is resident";
  ThreadPool pool(2);
  const Model model = wide_model(pool, TensorType::Q8_0);
  const std::vector<int32_t> tokens = random_tokens(512, 8);
  KvCache cache(model);
  std::vector<Row> rows;
  for (const int32_t token : tokens) rows.push_back({&cache, token, false});
  rows.back().wants_logits = true;
  const int64_t before = resident_bytes();
  Workspace work(model, pool);
  forward(model, rows, work);
  EXPECT_LT(resident_bytes() - before, 10 << 20);
}

// A pass of many rows computes gate and up a block of columns at a time, one of few rows whole: to the bit the same,
// where `down` takes codes and where it takes values, and where the last block is half a one.
TEST(Workspace, ManyRowsAreAsFewTo) {
  for (const TensorType type : {TensorType::Q8_0, TensorType::F16}) {
    const TinyOptions options = {.matrix_type = type};
    ModelConfig config = tiny_config(options);
    if (type == TensorType::F16)
      for (LayerConfig& layer : config.layers) layer.ffn_width = 72;  // five tiles, the last of 8 rows
    ThreadPool pool(3);
    const Model model = Model::load(tiny_model(config, options), {}, pool);
    const std::vector<int32_t> tokens = random_tokens(150, 9);
    const Logits whole = run(model, tokens, 150, pool);
    for (const size_t chunk : {1, 4, 16, 17, 63, 64}) EXPECT_EQ(run(model, tokens, chunk, pool), whole) << chunk;
  }
}

}  // namespace
}  // namespace attar::runtime
