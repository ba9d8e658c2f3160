#include "distill/pass/attention_pass.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "distill/pass/key_head.h"
#include "distill/pass/row_math.h"

namespace attar {
namespace {

at::Tensor angles_of(const std::vector<double>& frequencies, int64_t longest) {
  const auto half = static_cast<int64_t>(frequencies.size());
  at::Tensor table = at::empty({longest, 2, half}, at::kFloat);
  auto* out = table.mutable_data_ptr<float>();
  for (int64_t t = 0; t < longest; ++t)
    for (int64_t j = 0; j < half; ++j) {
      const double angle = static_cast<double>(t) * frequencies[static_cast<size_t>(j)];
      out[2 * t * half + j] = static_cast<float>(std::cos(angle));
      out[(2 * t + 1) * half + j] = static_cast<float>(std::sin(angle));
    }
  return table;
}

// A thread's own memory, which its next document takes again.
KeyHead& room() {
  thread_local KeyHead head;
  return head;
}

Row by_heads(const at::Tensor& x, int64_t dim) {
  return Row(x.view({-1, dim}));
}

// From a product's row of one head to what attention compares: through the norm where there is one, then turned by its
// position's angle, (2, D / 2).
class Turn {
 public:
  Turn(const at::Tensor& raw, const at::Tensor& turned, const at::Tensor& norm, double epsilon, int64_t dim)
      : norm_(norm.defined() ? norm.const_data_ptr<float>() : nullptr),
        epsilon_(epsilon),
        dim_(dim),
        from_(by_heads(norm_ != nullptr ? raw : turned, dim)),
        to_(by_heads(turned, dim)),
        row_(static_cast<size_t>(2 * dim)) {}

  void operator()(int64_t row, const float* angle) const {
    float *x = row_.data(), *before = x + dim_;
    from_.read(row, norm_ != nullptr ? before : x);
    if (norm_ != nullptr) norm_row(before, norm_, dim_, epsilon_, x);
    rotate_row(x, angle, angle + dim_ / 2, dim_ / 2, false);
    to_.write(row, x);
  }

 private:
  const float* norm_;
  double epsilon_;
  int64_t dim_;
  Row from_, to_;
  mutable std::vector<float> row_;
};

// The way back of Turn: from the gradient by what attention compares, and that of a tap, to that by the product, and by
// the norm (D).
class TurnBack {
 public:
  TurnBack(const at::Tensor& by_raw, const at::Tensor& raw, const at::Tensor& norm, const at::Tensor& by_tap,
           double epsilon, const at::Tensor& by_norm)
      : norm_(norm.defined() ? norm.const_data_ptr<float>() : nullptr),
        by_norm_(by_norm.mutable_data_ptr<float>()),
        by_tap_(by_tap.defined() ? by_tap.const_data_ptr<float>() : nullptr),
        epsilon_(epsilon),
        dim_(by_norm.size(0)),
        from_(by_heads(norm_ != nullptr ? raw : by_raw, dim_)),
        to_(by_heads(by_raw, dim_)),
        row_(static_cast<size_t>(4 * dim_)) {}

  void operator()(int64_t row, const float* angle, const float* given) const {
    float *x = row_.data(), *out = x + dim_, *before = out + dim_, *normed = before + dim_;
    std::copy_n(given, dim_, x);
    if (by_tap_ != nullptr) add_row(by_tap_ + row * dim_, dim_, x);
    rotate_row(x, angle, angle + dim_ / 2, dim_ / 2, true);
    if (norm_ != nullptr) {
      from_.read(row, before);
      const float inverse = norm_row(before, norm_, dim_, epsilon_, normed);
      std::fill_n(out, dim_, 0.0f);
      norm_row_backward(x, before, norm_, inverse, dim_, out, by_norm_);
    }
    to_.write(row, norm_ != nullptr ? out : x);
  }

 private:
  const float* norm_;
  float* by_norm_;
  const float* by_tap_;
  double epsilon_;
  int64_t dim_;
  Row from_, to_;
  mutable std::vector<float> row_;
};

}  // namespace

struct AttentionPass::Item {
  const LayerConfig* layer;
  int64_t begin, key_head;  // the document's first row
  AttentionShape shape;

  int64_t groups() const { return layer->n_heads / layer->n_kv_heads; }
  // Rows of (N, heads * D) by head: where one stands at position t.
  int64_t query_row(int64_t t, int64_t head) const { return (begin + t) * layer->n_heads + head; }
  int64_t key_row(int64_t t) const { return (begin + t) * layer->n_kv_heads + key_head; }
  // Calls visit(head, first position, count) for the blocks of its queries, head after head.
  template <class Visit>
  void each_block(Visit&& visit) const {
    for (int64_t head = key_head * groups(); head < (key_head + 1) * groups(); ++head)
      for (int64_t first = 0; first < shape.length; first += KeyHead::kQueries)
        visit(head, first, std::min(KeyHead::kQueries, shape.length - first));
  }
  void read_keys(const AttentionTape& tape, bool backward, KeyHead& keys) const {
    keys.start(shape, backward);
    const Row key(tape.key.view({-1, shape.dim})), value(tape.value.view({-1, shape.dim}));
    for (int64_t t = 0; t < shape.length; ++t) key.read(key_row(t), keys.key(t)), value.read(key_row(t), keys.value(t));
    keys.turn();
  }
};

AttentionPass::AttentionPass(const ModelConfig& config, int64_t longest) : config_(config) {
  std::map<std::vector<double>, at::Tensor> tables;  // most layers turn alike
  for (const LayerConfig& layer : config.layers) {
    const std::vector<double> frequencies = rope_frequencies(config, layer);
    at::Tensor& table = tables[frequencies];
    if (!table.defined()) table = angles_of(frequencies, longest);
    angles_.push_back(table);
  }
}

std::vector<AttentionPass::Item> AttentionPass::items_of(const TokenBatch& batch, int64_t layer) const {
  const LayerConfig& of = config_.layers[static_cast<size_t>(layer)];
  const int64_t window = of.kind == LayerKind::SlidingAttention ? config_.sliding_window : 0;
  std::vector<Item> items;
  int64_t begin = 0;
  for (const int64_t length : batch.lengths) {
    for (int64_t head = 0; head < of.n_kv_heads; ++head)
      items.push_back({&of, begin, head, {length, of.head_dim, window, static_cast<float>(config_.score_scale(of))}});
    begin += length;
  }
  return items;
}

void AttentionPass::forward(Team& team, const TokenBatch& batch, int64_t layer, const HeadNorms& norms,
                            AttentionTape& tape) const {
  const std::vector<Item> items = items_of(batch, layer);
  auto* log_sums = tape.log_sums.mutable_data_ptr<float>();
  team.run(static_cast<int64_t>(items.size()), [&](int64_t i) {
    const Item& item = items[static_cast<size_t>(i)];
    const Turn turn_query(tape.raw_query, tape.query, norms.query, config_.norm_epsilon, item.shape.dim),
        turn_key(tape.raw_key, tape.key, norms.key, config_.norm_epsilon, item.shape.dim);
    for (int64_t t = 0; t < item.shape.length; ++t) turn_key(item.key_row(t), angle(layer, t));
    KeyHead& keys = room();
    item.read_keys(tape, false, keys);
    const Row query = by_heads(tape.query, item.shape.dim), mixed = by_heads(tape.mixed, item.shape.dim);
    item.each_block([&](int64_t head, int64_t first, int64_t count) {
      for (int64_t r = 0; r < count; ++r) {
        turn_query(item.query_row(first + r, head), angle(layer, first + r));
        query.read(item.query_row(first + r, head), keys.query(r));
      }
      keys.forward(first, count);
      for (int64_t r = 0; r < count; ++r) {
        mixed.write(item.query_row(first + r, head), keys.mixed(r));
        log_sums[item.query_row(first + r, head)] = keys.log_sum(r);
      }
    });
  });
}

void AttentionPass::backward(Team& team, const TokenBatch& batch, int64_t layer, const HeadNorms& norms,
                             const AttentionTape& tape, const at::Tensor& by_mixed, const HeadTap& by_tap,
                             AttentionTape& by, HeadNorms& by_norms) const {
  const std::vector<Item> items = items_of(batch, layer);
  const auto n_items = static_cast<int64_t>(items.size());
  const int64_t dim = config_.layers[static_cast<size_t>(layer)].head_dim;
  const auto* log_sums = tape.log_sums.const_data_ptr<float>();
  const at::Tensor by_query_norms = at::zeros({n_items, dim}, at::kFloat),
                   by_key_norms = at::zeros_like(by_query_norms);
  team.run(n_items, [&](int64_t i) {
    const Item& item = items[static_cast<size_t>(i)];
    const TurnBack turn_query(by.query, tape.raw_query, norms.query, by_tap.query, config_.norm_epsilon,
                              by_query_norms[i]),
        turn_key(by.key, tape.raw_key, norms.key, by_tap.key, config_.norm_epsilon, by_key_norms[i]);
    KeyHead& keys = room();
    item.read_keys(tape, true, keys);
    const Row query = by_heads(tape.query, dim), mixed = by_heads(tape.mixed, dim), given = by_heads(by_mixed, dim);
    item.each_block([&](int64_t head, int64_t first, int64_t count) {
      for (int64_t r = 0; r < count; ++r) {
        const int64_t row = item.query_row(first + r, head);
        query.read(row, keys.query(r)), mixed.read(row, keys.mixed(r)), given.read(row, keys.by_mixed(r));
        keys.log_sum(r) = log_sums[row];
      }
      keys.backward(first, count);
      for (int64_t r = 0; r < count; ++r)
        turn_query(item.query_row(first + r, head), angle(layer, first + r), keys.by_query(r));
    });
    const Row by_value = by_heads(by.value, dim);
    for (int64_t t = 0; t < item.shape.length; ++t) {
      const int64_t row = item.key_row(t);
      turn_key(row, angle(layer, t), keys.by_key(t));
      if (by_tap.value.defined()) add_row(by_tap.value.const_data_ptr<float>() + row * dim, dim, keys.by_value(t));
      by_value.write(row, keys.by_value(t));
    }
  });
  for (int64_t i = 0; i < n_items; ++i) {
    if (by_norms.query.defined()) by_norms.query.add_(by_query_norms[i]);
    if (by_norms.key.defined()) by_norms.key.add_(by_key_norms[i]);
  }
}

}  // namespace attar
