// Speed of a training step: forward, losses, backward, AdamW, on two threads or as many as are said.
//   train_step [--shape smollm2|30m|10m] [--precision fp32|bf16] [--tokens N] [--threads N] [--loss kl|ce] [--steps N]
//              [--position-share S] [--gradient-checkpointing 1]
// A student with random weights of that shape, documents of 256 random tokens; with kl a teacher of the same shape runs
// beside it. Prints the median seconds of a step and its tokens a second. tests/bench/train_step.py does the same in
// PyTorch with Hugging Face's model.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <string>
#include <vector>

#include "compress/shards.h"
#include "distill/learner.h"
#include "distill/optimizer/adamw.h"
#include "runtime/base/random.h"

namespace {

using namespace attar;

ModelConfig shape_of(const std::string& name) {
  struct Shape {
    int layers;
    int64_t width, heads, kv_heads, ffn, vocab_size;
  };
  const std::map<std::string, Shape> shapes{{"smollm2", {30, 576, 9, 3, 1536, 49152}},
                                            {"30m", {8, 384, 6, 2, 1024, 49152}},
                                            {"10m", {6, 256, 4, 2, 704, 16384}}};
  const auto found = shapes.find(name);
  if (found == shapes.end()) std::fprintf(stderr, "no such shape: %s\n", name.c_str()), std::exit(2);
  const Shape& s = found->second;
  ModelConfig config;
  config.vocab_size = s.vocab_size, config.width = s.width, config.context_length = 2048;
  config.layers.assign(static_cast<size_t>(s.layers),
                       {LayerKind::FullAttention, s.heads, s.kv_heads, s.width / s.heads, s.ffn});
  return config;
}

TokenDataset random_text(int64_t tokens, int64_t vocab_size) {
  constexpr int64_t kLength = 256;
  const CounterRandom random(1);
  TokenDataset data;
  for (int64_t begin = 0; begin < tokens; begin += kLength) {
    TokenDocument document;
    for (int64_t i = begin; i < std::min(tokens, begin + kLength); ++i)
      document.tokens.push_back(
          static_cast<int32_t>(random.below(static_cast<uint64_t>(i), static_cast<uint64_t>(vocab_size))));
    document.in_loss.assign(document.tokens.size(), 1);
    document.in_loss[0] = 0;
    data.documents.push_back(std::move(document));
  }
  return data;
}

}  // namespace

int main(int argc, char** argv) {
  std::map<std::string, std::string> given{
      {"--shape", "smollm2"}, {"--precision", "fp32"}, {"--tokens", "1024"},      {"--threads", "2"},
      {"--loss", "ce"},       {"--steps", "7"},        {"--position-share", "1"}, {"--gradient-checkpointing", "0"}};
  for (int i = 1; i + 1 < argc; i += 2) given[argv[i]] = argv[i + 1];
  prepare_libtorch();
  const OwnKernels own;
  const ModelConfig config = shape_of(given["--shape"]);
  const int64_t tokens = std::atoll(given["--tokens"].c_str());
  const int threads = std::atoi(given["--threads"].c_str());
  const bool kl = given["--loss"] == "kl";
  CausalLM student = CausalLM::random(config, 1);
  const CausalLM teacher = kl ? CausalLM::random(config, 2) : CausalLM{config, {}};
  const TokenDataset data = random_text(tokens, config.vocab_size);
  DistillOptions options;
  options.losses = {{kl ? "forward_kl" : "cross_entropy", 1.0}};
  options.precision = given["--precision"];
  options.gradient_checkpointing = given["--gradient-checkpointing"] == "1";
  options.position_share = std::atof(given["--position-share"].c_str());
  TrainInputs inputs{.teacher = kl ? &teacher : nullptr, .data = &data, .threads = threads};
  Learner learner(student, inputs, options, kl ? SignalSource::Online : SignalSource::None);
  TrainingBatch batch{&data, {}, {}};
  for (size_t d = 0; d < data.documents.size(); ++d)
    batch.pieces.push_back({static_cast<int64_t>(d), 0, static_cast<int64_t>(data.documents[d].tokens.size())});
  batch.tokens = loss_tokens(data, batch.pieces, SignalSource::None);
  AdamWState moments;
  std::vector<double> passes, wholes;
  for (int step = 0; step < std::atoi(given["--steps"].c_str()) + 1; ++step) {
    const auto begin = std::chrono::steady_clock::now();
    const BatchGradients gradients = learner.gradients(batch, 1.0);
    const auto middle = std::chrono::steady_clock::now();
    const double norm = global_norm(gradients.of, threads);
    adamw_step(student.parameters, gradients.of, moments, {1e-4, 0.9, 0.95, 1e-8, 0.0, {}}, std::min(1.0, 1.0 / norm),
               threads);
    const auto end = std::chrono::steady_clock::now();
    if (step == 0) continue;
    passes.push_back(std::chrono::duration<double>(middle - begin).count());
    wholes.push_back(std::chrono::duration<double>(end - begin).count());
  }
  const auto median = [](std::vector<double> of) {
    std::sort(of.begin(), of.end());
    return of[of.size() / 2];
  };
  std::printf("%s %s %s, %lld tokens, %d threads: %.3f s a step, %.3f of them the optimizer, %.0f tokens/s\n",
              given["--shape"].c_str(), given["--precision"].c_str(), given["--loss"].c_str(),
              static_cast<long long>(tokens), threads, median(wholes), median(wholes) - median(passes),
              static_cast<double>(tokens) / median(wholes));
  return 0;
}
