// What a training takes beside its activations: the weights, their gradient, what the optimizer keeps, and no copy of
// any of them for a checkpoint, which is written from their own memory.
#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "tests/compress/counted_memory.h"
#include "tests/distill/step/counted_new.h"
#include "tests/distill/tiny_training.h"
#include "tests/test_folder.h"

namespace attar {
namespace {

constexpr int64_t kTrainedVocab = 4096;

// 4.7 million parameters.
ModelConfig config_of_millions() {
  ModelConfig config;
  config.vocab_size = kTrainedVocab, config.width = 256, config.context_length = 64;
  config.layers.assign(5, {LayerKind::FullAttention, 4, 2, 64, 704});
  return config;
}

// Rows come in 128s, so 32 tokens are 128 rows. What a layer keeps of a row are 2,692 numbers, all layers 6.9 MB; what
// they share is 4,224 numbers of a row, 2.2 MB; logits, and sums of the gradient by hidden states, 3.1 MB; rows of
// logits that threads work on, and what Muon makes of two matrices at once, 7 MB; the tokenizer in a checkpoint 3 MB.
// One more copy of the weights would be 19 MB.
constexpr int64_t kBesideBytes = int64_t{24} << 20;

TokenizerData tokenizer_of_all() {
  TokenizerData data;
  for (int64_t i = 0; i < kTrainedVocab; ++i) data.tokens.push_back({"t" + std::to_string(i), 0.0f, TokenKind::Normal});
  return data;
}

// Documents of which two make a batch of 32 predictions.
TokenDataset pairs_of_documents() {
  TokenDataset data;
  data.tokenizer_hash = "none";
  for (int32_t d = 0; d < 6; ++d) {
    TokenDocument document;
    for (int32_t i = 0; i < 17; ++i)
      document.tokens.push_back((d * 701 + i * 37) % static_cast<int32_t>(kTrainedVocab));
    document.in_loss.assign(document.tokens.size(), 1);
    document.in_loss[0] = 0;
    data.documents.push_back(std::move(document));
  }
  return data;
}

struct Held {
  std::string name;
  int64_t bytes;  // a parameter: 4 of weights and 4 of gradients, 4 a moment, 4 of an average, 2 of a copy in bf16
  std::string optimizer = "adamw", precision = "fp32";
  double ema = 0.0;
};

// -> the peak of a training that writes a checkpoint behind each step, from before its student is there
int64_t peak_of(const Held& held) {
  DistillOptions options = quick(96);
  options.batch_tokens = 32, options.checkpoint_every_steps = 1;
  options.optimizer = held.optimizer, options.precision = held.precision, options.ema = held.ema;
  const TokenDataset data = pairs_of_documents();
  const TokenizerData tokenizer = tokenizer_of_all();
  const TestFolder own("training_memory");
  const CountedMemory tensors;
  const CountedNew others;
  CausalLM student = CausalLM::random(config_of_millions(), 1);
  const TrainInputs inputs{.data = &data, .checkpoint_directory = own / "steps", .threads = 2};
  const TrainResult result = train(student, tokenizer, inputs, options);
  EXPECT_EQ(result.steps, 3) << held.name;
  EXPECT_TRUE(std::filesystem::exists(own / "steps/step-2")) << held.name;
  return tensors.peak_bytes() + others.peak_bytes();
}

// Twenty bytes a parameter, unless AdamW, products in bf16 and an average come together.
TEST(TrainingMemory, IsThatOfWeightsGradientsAndMoments) {
  const int64_t parameters = config_of_millions().parameter_count();
  const std::vector<Held> trainings{{"AdamW", 16},
                                    {"AdamW, bf16", 18, "adamw", "bf16"},
                                    {"AdamW, average", 20, "adamw", "fp32", 0.9},
                                    {"AdamW, bf16, average", 22, "adamw", "bf16", 0.9},
                                    {"Muon", 16, "muon"},  // one moment of most
                                    {"Muon, bf16, average", 20, "muon", "bf16", 0.9}};
  for (const Held& held : trainings) {
    const int64_t peak = peak_of(held);
    if (std::getenv("ATTAR_SHOW") != nullptr)
      std::printf("%s: %.2f bytes a parameter in all; %.1f MB beside %lld\n", held.name.c_str(),
                  static_cast<double>(peak) / static_cast<double>(parameters),
                  static_cast<double>(peak - held.bytes * parameters) / 1e6, static_cast<long long>(held.bytes));
    EXPECT_LE(peak, held.bytes * parameters + kBesideBytes) << held.name;
    EXPECT_GE(peak, 12 * parameters) << held.name << ": not all is counted";
  }
}

}  // namespace
}  // namespace attar
