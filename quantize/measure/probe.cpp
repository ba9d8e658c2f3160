#include "quantize/measure/probe.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/mm.h>

#include <algorithm>
#include <functional>
#include <numeric>
#include <set>
#include <span>

#include "compress/shards.h"
#include "quantize/grid/grid.h"
#include "runtime/base/host/freed_memory.h"

namespace attar {
namespace {

constexpr int64_t kLogitRows = 128;  // whose logits are there at once
constexpr int64_t kRowsAShard = 64;
constexpr size_t kSequences = 2;

// Chunks of rows of a batch's states, in order.
template <class Work>
void each_chunk(const at::Tensor& hidden, const Work& work) {
  for (int64_t begin = 0, chunk = 0; begin < hidden.size(0); begin += kLogitRows, ++chunk)
    work(static_cast<size_t>(chunk), begin, std::min(kLogitRows, hidden.size(0) - begin));
}

class Probe {
 public:
  Probe(const WeightSource& weights, const Survey& survey, const std::vector<TokenBatch>& sequences, int threads,
        const Progress& progress)
      : weights_(weights),
        survey_(survey),
        own_(own_vocabulary({sequences.begin(),
                             sequences.begin() + static_cast<std::ptrdiff_t>(std::min(kSequences, sequences.size()))})),
        threads_(threads),
        between_([this, &progress] { report(progress, now_); }) {
    now_.total = config().n_layers() + 1;
    std::set<Role> roles;
    for (const TensorSpec& spec : tensor_specs(config()))
      if (spec.is_matrix()) roles.insert(spec.role);
    roles_.assign(roles.begin(), roles.end());
  }

  std::map<Role, double> divergences() {
    start();
    for (int64_t layer = 0; layer < config().n_layers(); ++layer) {
      walk(layer);
      ++now_.done;
      between_();
    }
    give_back_freed_memory();  // the head comes now, and log-probabilities
    const std::vector<std::vector<double>> sums = compare();
    ++now_.done;
    between_();
    double tokens = 0.0;
    for (const TokenBatch& batch : own_.batches) tokens += static_cast<double>(batch.tokens.size(0));
    std::map<Role, double> out;
    for (size_t r = 0; r < roles_.size(); ++r)
      out[roles_[r]] = std::accumulate(sums[r].begin(), sums[r].end(), 0.0) / tokens;
    return out;
  }

 private:
  // A stream of a batch's hidden states for every role that is rounded, and behind them that of the model as it is.
  size_t whole() const { return roles_.size(); }
  size_t place(size_t stream, size_t batch) const { return stream * own_.batches.size() + batch; }
  const ModelConfig& config() const { return weights_.config(); }
  template <class Work>
  void each_stream(const Work& work) {
    const size_t n = own_.batches.size();
    run_shards(
        static_cast<int64_t>((whole() + 1) * n), threads_,
        [&](int64_t part) { work(static_cast<size_t>(part) / n, static_cast<size_t>(part) % n); }, between_);
  }

  void start() {
    const TensorSpec spec = spec_of(config(), Role::Embedding);
    const at::Tensor rows = weights_.rows(spec, own_.ids), own_rounded = rows.clone();
    if (is_rounded(spec))
      round(spec, {own_rounded.mutable_data_ptr<float>(), static_cast<size_t>(own_rounded.numel())});
    const CausalLM plain{config(), {{spec.name, rows}}}, changed{config(), {{spec.name, own_rounded}}};
    hidden_.resize(place(whole() + 1, 0));
    each_stream([&](size_t stream, size_t b) {
      const bool own = stream < whole() && roles_[stream] == Role::Embedding;
      hidden_[place(stream, b)] = embed(own ? changed : plain, own_.batches[b]);
    });
  }

  void walk(int64_t layer) {
    CausalLM plain{config(), {}};
    load_layer(plain, weights_, layer, threads_);
    std::vector<CausalLM> changed(whole() + 1, plain);  // the tensors are shared
    for (const TensorSpec& spec : tensor_specs(config())) {
      const auto role = std::find(roles_.begin(), roles_.end(), spec.role);
      if (spec.layer != layer || !spec.is_matrix() || role == roles_.end()) continue;
      changed[static_cast<size_t>(role - roles_.begin())].parameters[spec.name] = rounded(spec);
    }
    each_stream([&](size_t stream, size_t b) {
      at::Tensor& hidden = hidden_[place(stream, b)];
      hidden = forward_block(changed[stream], layer, hidden, own_.batches[b]);
    });
  }

  // Sums over each batch's tokens, by role.
  std::vector<std::vector<double>> compare() {
    CausalLM ends{config(), {}};
    load_tensor(ends, weights_, Role::OutputNorm, threads_);
    load_tensor(ends, weights_, head_role(config()), threads_);
    each_stream(
        [&](size_t stream, size_t b) { hidden_[place(stream, b)] = final_norm(ends, hidden_[place(stream, b)]); });
    const size_t n = own_.batches.size();
    std::vector<std::vector<double>> sums(whole(), std::vector<double>(n, 0.0));
    std::vector<std::vector<at::Tensor>> log_p(n);  // (kLogitRows, V) each, for those that round the head
    run_shards(static_cast<int64_t>(n), threads_, [&](int64_t i) {
      const auto b = static_cast<size_t>(i);
      each_chunk(hidden_[place(whole(), b)], [&](size_t, int64_t begin, int64_t count) {
        log_p[b].push_back(log_probs(place(whole(), b), begin, count, ends.head()));
        for (size_t r = 0; r < whole(); ++r)
          if (roles_[r] != head_role(config()))
            sums[r][b] += divergence(log_p[b].back(), log_probs(place(r, b), begin, count, ends.head()));
      });
    });
    const TensorSpec spec = spec_of(config(), head_role(config()));
    const auto r = static_cast<size_t>(std::find(roles_.begin(), roles_.end(), spec.role) - roles_.begin());
    ends.parameters.clear();
    const at::Tensor head = rounded(spec);
    run_shards(static_cast<int64_t>(n), threads_, [&](int64_t i) {
      const auto b = static_cast<size_t>(i);
      each_chunk(hidden_[place(r, b)], [&](size_t chunk, int64_t begin, int64_t count) {
        sums[r][b] += divergence(log_p[b][chunk], log_probs(place(r, b), begin, count, head));
      });
    });
    return sums;
  }
  at::Tensor log_probs(size_t stream, int64_t begin, int64_t count, const at::Tensor& head) const {
    return at::log_softmax(at::mm(hidden_[stream].narrow(0, begin, count), head.t()), 1);
  }
  // log_q becomes the terms: beside the two there is no more than one of their size, or the sum's copy in double.
  static double divergence(const at::Tensor& log_p, at::Tensor log_q) {
    log_q.neg_().add_(log_p).mul_(log_p.exp());
    return log_q.sum(at::kDouble).item<double>();
  }

  bool is_rounded(const TensorSpec& spec) const { return spec.shape[1] % format_of(kProbeType).block_size == 0; }
  // The tensor as the probe's type holds it, where it can.
  at::Tensor rounded(const TensorSpec& spec) const {
    if (!is_rounded(spec)) return weights_.tensor(spec, threads_);
    at::Tensor out = at::empty(spec.shape, at::kFloat);
    auto* values = out.mutable_data_ptr<float>();
    run_shards((out.size(0) + kRowsAShard - 1) / kRowsAShard, threads_,
               [&](int64_t shard) {
                 const int64_t first = shard * kRowsAShard, count = std::min(kRowsAShard, out.size(0) - first);
                 const std::span<float> rows(values + first * out.size(1), static_cast<size_t>(count * out.size(1)));
                 weights_.read_rows(spec, first, rows);
                 round(spec, rows);
               },
               between_);
    return out;
  }
  void round(const TensorSpec& spec, std::span<float> rows) const {
    const Grid grid = fit_grid(format_of(kProbeType), rows, survey_.weights.at(spec.name));
    for (size_t i = 0; i < rows.size(); ++i) rows[i] = round_at(grid, static_cast<int64_t>(i), rows[i]).value;
  }

  const WeightSource& weights_;
  const Survey& survey_;
  const OwnVocabulary own_;
  int threads_;
  Event now_{.stage = "probes", .unit = "layers"};
  std::function<void()> between_;
  std::vector<Role> roles_;
  std::vector<at::Tensor> hidden_;  // (N, C) by place
};

}  // namespace

std::map<Role, double> probe_roles(const WeightSource& weights, const Survey& survey,
                                   const std::vector<TokenBatch>& sequences, int threads, const Progress& progress) {
  return Probe(weights, survey, sequences, threads, progress).divergences();
}

}  // namespace attar
