#include "compress/fisher.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/zeros.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <filesystem>
#include <span>

#include "compress/shards.h"
#include "runtime/base/error.h"
#include "runtime/base/host/freed_memory.h"
#include "runtime/base/random.h"

namespace attar {
namespace {

constexpr const char *kFisherKind = "fisher", *kStreams = "streams", *kHead = "head", *kLookups = "lookups";
constexpr int64_t kChunkRows = 128;  // whose logits are there at once

// A token of each row, by its probabilities (rows, V), which become the gradient of its negative log-probability.
void draw_labels(at::Tensor& probabilities, const CounterRandom& random, int64_t first_position) {
  const int64_t rows = probabilities.size(0), vocab = probabilities.size(1);
  auto* p = probabilities.mutable_data_ptr<float>();
  for (int64_t r = 0; r < rows; ++r) {
    float* row = p + r * vocab;
    double left = random.uniform(static_cast<uint64_t>(first_position + r));
    int64_t label = 0;
    while (label + 1 < vocab && left >= static_cast<double>(row[label])) left -= static_cast<double>(row[label++]);
    row[label] -= 1.0f;
  }
}

// Gradient by the states behind the last block (N, C), of the sum over positions; the logits' own information goes into
// head (V).
at::Tensor head_gradient(const CausalLM& model, const at::Tensor& hidden, const CounterRandom& random,
                         at::Tensor& head) {
  const at::Tensor leaf = hidden.detach().set_requires_grad(true), weight = model.head().detach();
  at::Tensor normed;
  {
    const c10::AutoGradMode grad(true);
    normed = final_norm(model, leaf);
  }
  std::vector<at::Tensor> gradients;
  const int64_t n = normed.size(0);
  for (int64_t begin = 0; begin < n; begin += kChunkRows) {
    const at::Tensor rows = normed.detach().narrow(0, begin, std::min(kChunkRows, n - begin));
    at::Tensor p = at::softmax(at::mm(rows, weight.t()), 1);
    head += (p - p.square()).sum(at::IntArrayRef{0}, false, at::kDouble);
    draw_labels(p, random, begin);
    gradients.push_back(at::mm(p, weight));
  }
  normed.backward(at::cat(gradients, 0));
  return leaf.grad();
}

// The same by the states in front of a block; squares of those by what its linears give go into outputs, (out) each.
at::Tensor block_gradient(const CausalLM& model, int64_t layer, const TokenBatch& batch, const at::Tensor& hidden,
                          const at::Tensor& gradient, Precision precision, std::map<std::string, at::Tensor>& outputs) {
  const ProductsIn products(precision);
  std::map<std::string, at::Tensor> given;
  CausalLM traced = model;
  traced.outputs = &given;
  const at::Tensor leaf = hidden.detach().set_requires_grad(true);
  {
    const c10::AutoGradMode grad(true);
    const at::Tensor out = forward_block(traced, layer, leaf, batch);
    for (const auto& [name, output] : given) output.retain_grad();
    out.backward(gradient);
  }
  for (const auto& [name, output] : given)
    outputs[name] = output.grad().to(at::kFloat).square().sum(at::IntArrayRef{0}, false, at::kDouble);
  return leaf.grad();
}

// A few sequences side by side: forward with their states kept, and back block by block, each computed again. Of the
// model a layer is in memory, or its ends.
class Wave {
 public:
  Wave(const WeightSource& weights, std::span<const TokenBatch> sequences, Precision precision, int threads,
       const std::function<void()>& between)
      : weights_(weights),
        sequences_(sequences),
        precision_(precision),
        threads_(threads),
        between_(between),
        part_{weights.config(), {}} {}

  // `first` is the number of the wave's first sequence. -> sums over each
  std::vector<OutputFisher> sums(uint64_t seed, int64_t first) {
    const ModelConfig& config = part_.config;
    sums_.resize(sequences_.size());
    hidden_.resize(sequences_.size());
    gradient_.resize(sequences_.size());
    const OwnVocabulary own = own_vocabulary({sequences_.begin(), sequences_.end()});
    part_.parameters[tensor_name(0, Role::Embedding)] = weights_.rows(spec_of(config, Role::Embedding), own.ids);
    each([&](size_t s) {
      sums_[s].tokens = sequences_[s].tokens.size(0);
      sums_[s].streams = at::zeros({config.n_layers(), config.width}, at::kDouble);
      sums_[s].head = at::zeros({config.vocab_size}, at::kDouble);
      hidden_[s] = {embed(part_, own.batches[s])};
    });
    part_.parameters.clear();
    const int64_t n_layers = config.n_layers();
    for (int64_t layer = 0; layer < n_layers; ++layer)
      in_layer(layer, [&](size_t s) {
        const ProductsIn products(precision_);
        hidden_[s].push_back(forward_block(part_, layer, hidden_[s].back(), sequences_[s]));
      });
    give_back_freed_memory();  // the head comes now, and logits
    load_tensor(part_, weights_, Role::OutputNorm, threads_);
    load_tensor(part_, weights_, head_role(config), threads_);
    each([&](size_t s) {
      const CounterRandom random(seed, static_cast<uint64_t>(first) + s);
      gradient_[s] = head_gradient(part_, hidden_[s].back(), random, sums_[s].head);
      add_stream(n_layers - 1, s);
    });
    part_.parameters.clear();
    for (int64_t layer = n_layers - 1; layer >= 0; --layer)
      in_layer(layer, [&](size_t s) {
        hidden_[s].pop_back();
        gradient_[s] =
            block_gradient(part_, layer, sequences_[s], hidden_[s].back(), gradient_[s], precision_, sums_[s].outputs);
        if (layer > 0) add_stream(layer - 1, s);
      });
    each([&](size_t s) { sums_[s].lookups = at::mm(gradient_[s].t(), gradient_[s]).to(at::kDouble); });
    return std::move(sums_);
  }

 private:
  template <class Work>
  void each(const Work& work) {
    run_shards(
        static_cast<int64_t>(sequences_.size()), threads_, [&](int64_t s) { work(static_cast<size_t>(s)); }, between_);
  }
  // Of the gradient by the stream behind a layer.
  void add_stream(int64_t layer, size_t s) {
    sums_[s].streams.select(0, layer).copy_(gradient_[s].square().sum(at::IntArrayRef{0}, false, at::kDouble));
  }
  template <class Work>
  void in_layer(int64_t layer, const Work& work) {
    load_layer(part_, weights_, layer, threads_);
    each(work);
    forget_layer(part_, layer);
  }

  const WeightSource& weights_;
  std::span<const TokenBatch> sequences_;
  Precision precision_;
  int threads_;
  const std::function<void()>& between_;
  CausalLM part_;  // what of the model is in memory
  std::vector<OutputFisher> sums_;
  std::vector<std::vector<at::Tensor>> hidden_;  // (N, C) in front of each block, and behind the last
  std::vector<at::Tensor> gradient_;             // (N, C)
};

void add(OutputFisher& total, const OutputFisher& one) {
  const auto add_to = [](at::Tensor& sum, const at::Tensor& term) { sum = sum.defined() ? sum + term : term; };
  total.tokens += one.tokens;
  for (const auto& [name, squares] : one.outputs) add_to(total.outputs[name], squares);
  add_to(total.streams, one.streams);
  add_to(total.head, one.head);
  add_to(total.lookups, one.lookups);
}

// The sums over the first sequences as a broken run left them. -> how many sequences that is
int64_t take(const KeptAt& kept, OutputFisher& total) {
  if (kept.path.empty() || !std::filesystem::exists(kept.path)) return 0;
  const KeptFile file = read_kept(kept.path, kFisherKind);
  if (const std::string differ = differences(file.identity, kept.identity); !differ.empty())
    throw usage_error(kept.path, "is of another run: " + differ, "", "", "delete it: what it holds is made again");
  std::map<std::string, at::Tensor> sums = tensors_of(file, kept.path);
  for (const auto& [name, whole] :
       {std::pair(kStreams, &total.streams), std::pair(kHead, &total.head), std::pair(kLookups, &total.lookups)}) {
    if (!sums.contains(name)) throw damaged_kept(kept.path, "its tensors");
    *whole = sums.extract(name).mapped();
  }
  if (sums.empty()) throw damaged_kept(kept.path, "its tensors");
  total.outputs = std::move(sums);
  const auto counts = number_list(file.json, 2, kept.path);
  total.tokens = counts[0];
  return counts[1];
}

void keep(const KeptAt& kept, const OutputFisher& total, int64_t sequences) {
  if (kept.path.empty()) return;
  std::map<std::string, at::Tensor> sums = total.outputs;
  sums[kStreams] = total.streams, sums[kHead] = total.head, sums[kLookups] = total.lookups;
  write_kept(kept.path, kFisherKind, kept.identity,
             "[" + std::to_string(total.tokens) + "," + std::to_string(sequences) + "]", sums);
}

}  // namespace

OutputFisher output_fisher(const WeightSource& weights, const std::vector<TokenBatch>& sequences, uint64_t seed,
                           Precision precision, int threads, const Progress& progress, const KeptAt& kept) {
  const OwnKernels own_kernels;
  const c10::NoGradGuard no_grad;
  OutputFisher total;
  Event now{.stage = "sensitivity", .unit = "sequences", .total = static_cast<int64_t>(sequences.size())};
  now.done = take(kept, total);
  const std::function<void()> between = [&] { report(progress, now); };
  while (now.done < now.total) {
    const auto count = static_cast<size_t>(std::min(kFisherWave, now.total - now.done));
    const std::vector<OutputFisher> wave =
        Wave(weights, std::span(sequences).subspan(static_cast<size_t>(now.done), count), precision, threads, between)
            .sums(seed, now.done);
    for (const OutputFisher& sequence : wave) add(total, sequence);
    now.done += static_cast<int64_t>(count);
    keep(kept, total, now.done);
    report(progress, now);
  }
  const auto tokens = static_cast<double>(total.tokens);
  for (auto& [name, squares] : total.outputs) squares /= tokens;
  total.streams /= tokens;
  total.head /= tokens;
  total.lookups /= tokens;
  give_back_freed_memory();
  return total;
}

}  // namespace attar
