// Speed of a training step: forward, losses, backward, AdamW, on two threads or as many as are said.
//   train_step [--shape smollm2|30m|10m] [--precision fp32|bf16] [--tokens N] [--threads N] [--loss kl|ce|cached|head]
//              [--steps N] [--position-share S] [--gradient-checkpointing 1] [--width C --vocabulary V] [--device cuda]
// A student with random weights of that shape, documents of 256 random tokens; with kl a teacher of the same shape runs
// beside it, with cached its sampled signal is kept with the data. head: the two heads (V, C) and the loss alone,
// forward and backward, on the processor. Prints the median seconds of a step, its tokens a second, and by how much the
// process grew at most from when it had nothing. tests/bench/train_step.py does the same in PyTorch with Hugging Face's
// model.
#include <ATen/ops/ones.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>
#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "compress/shards.h"
#include "compress/signal/sampled_signal.h"
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

// A kept signal as of a teacher that is not sure: two exact entries and 22 draws a token.
void add_signal(TokenDataset& data, int64_t vocab_size) {
  const CounterRandom random(2);
  data.signal_numerics = "fp32", data.sampled = {.samples = 24, .id_bits = id_bits_of(vocab_size)};
  uint64_t at = 0;
  const auto draw = [&] { return static_cast<int32_t>(random.below(at++, static_cast<uint64_t>(vocab_size))); };
  for (TokenDocument& document : data.documents)
    for (size_t t = 0; t < document.tokens.size(); ++t) {
      SampledRow row;
      std::set<int32_t> ids;
      while (ids.size() < 24) ids.insert(draw());
      for (const int32_t id : ids)
        if (row.exact.size() < 2)
          row.exact.push_back({id, 40});
        else
          row.drawn.push_back({id, 1});
      row.entropy = 3.0;
      encode_row(t == 0 ? SampledRow{} : row, static_cast<int>(data.sampled.id_bits), document.sampled_signal);
    }
}

// Largest resident set so far, MB.
double peak_mb() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_maxrss) * 1024 / 1e6;
}

double median(std::vector<double> of) {
  std::sort(of.begin(), of.end());
  return of[of.size() / 2];
}

double seconds_since(std::chrono::steady_clock::time_point begin) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

// The two heads and the divergence alone. -> seconds of each call but the first
std::vector<double> head_seconds(const ModelConfig& config, int64_t tokens, int steps, Precision precision,
                                 int threads) {
  const CausalLM student = CausalLM::random(config, 3), teacher = CausalLM::random(config, 4);
  const std::string head = tensor_name(0, Role::Embedding);
  const at::Tensor hidden = at::randn({tokens, config.width}), teacher_hidden = at::randn({tokens, config.width});
  const at::Tensor next = at::zeros({tokens}, at::kLong), in_loss = at::ones({tokens}, at::kBool);
  at::Tensor by_head = at::zeros_like(student.parameter(head));
  Team team(threads);
  HeadLossMemory memory;
  const HeadLossOptions options{.losses = loss_terms({{"forward_kl", 1.0}}, {}, 1.0, 1.0), .precision = precision};
  const TeacherSignal signal = DenseSignal{teacher_hidden, teacher.parameter(head)};
  std::vector<double> seconds;
  for (int step = 0; step <= steps; ++step) {
    const auto begin = std::chrono::steady_clock::now();
    head_loss(hidden, student.parameter(head), next, in_loss, signal, options, static_cast<double>(tokens), by_head,
              team, memory);
    if (step > 0) seconds.push_back(seconds_since(begin));
  }
  return seconds;
}

}  // namespace

int main(int argc, char** argv) {
  std::map<std::string, std::string> given{
      {"--shape", "smollm2"}, {"--precision", "fp32"}, {"--tokens", "1024"},      {"--threads", "2"},
      {"--loss", "ce"},       {"--steps", "7"},        {"--position-share", "1"}, {"--gradient-checkpointing", "0"},
      {"--width", "0"},       {"--vocabulary", "0"},   {"--device", "cpu"}};
  for (int i = 1; i + 1 < argc; i += 2) given[argv[i]] = argv[i + 1];
  prepare_libtorch();
  const OwnKernels own;
  const double empty_mb = peak_mb();
  ModelConfig config = shape_of(given["--shape"]);
  const int64_t tokens = std::atoll(given["--tokens"].c_str());
  const int threads = std::atoi(given["--threads"].c_str()), steps = std::atoi(given["--steps"].c_str());
  const std::string loss = given["--loss"];
  const bool kl = loss == "kl";
  std::vector<double> passes, wholes;
  if (loss == "head") {
    if (given["--width"] != "0") config.width = std::atoll(given["--width"].c_str());
    if (given["--vocabulary"] != "0") config.vocab_size = std::atoll(given["--vocabulary"].c_str());
    config.layers.resize(1);
    wholes = passes = head_seconds(config, tokens, steps, *find_precision(given["--precision"]), threads);
  } else {
    CausalLM student = CausalLM::random(config, 1);
    const CausalLM teacher = kl ? CausalLM::random(config, 2) : CausalLM{config, {}};
    TokenDataset data = random_text(tokens, config.vocab_size);
    if (loss == "cached") add_signal(data, config.vocab_size);
    DistillOptions options;
    options.losses = {{loss == "ce" ? "cross_entropy" : "forward_kl", 1.0}};
    options.precision = given["--precision"];
    options.gradient_checkpointing = given["--gradient-checkpointing"] == "1";
    options.position_share = std::atof(given["--position-share"].c_str());
    TrainInputs inputs{.teacher = kl ? &teacher : nullptr, .data = &data, .threads = threads};
    const SignalSource source = kl ? SignalSource::Online : loss == "ce" ? SignalSource::None : SignalSource::Cached;
    Learner learner(student, inputs, options, source, pass_device(given["--device"]));
    TrainingBatch batch{&data, {}, {}};
    for (size_t d = 0; d < data.documents.size(); ++d)
      batch.pieces.push_back({static_cast<int64_t>(d), 0, static_cast<int64_t>(data.documents[d].tokens.size())});
    batch.tokens = loss_tokens(data, batch.pieces, source);
    AdamWState moments;
    for (int step = 0; step <= steps; ++step) {
      const auto begin = std::chrono::steady_clock::now();
      const BatchGradients gradients = learner.gradients(batch, 1.0);
      const double pass = seconds_since(begin), norm = global_norm(gradients.of, threads);
      adamw_step(student.parameters, gradients.of, moments, {1e-4, 0.9, 0.95, 1e-8, 0.0, {}}, std::min(1.0, 1.0 / norm),
                 threads);
      if (step == 0) continue;
      passes.push_back(pass), wholes.push_back(seconds_since(begin));
    }
  }
  std::printf("%s %s %s, %lld tokens, %d threads: %.4f s a step, %.4f of them the optimizer, %.0f tokens/s, %.0f MB\n",
              given["--shape"].c_str(), given["--precision"].c_str(), loss.c_str(), static_cast<long long>(tokens),
              threads, median(wholes), median(wholes) - median(passes), static_cast<double>(tokens) / median(wholes),
              peak_mb() - empty_mb);
  return 0;
}
