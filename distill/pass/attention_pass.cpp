#include "distill/pass/attention_pass.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/_scaled_dot_product_flash_attention_for_cpu.h>
#include <ATen/ops/_scaled_dot_product_flash_attention_for_cpu_backward.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <optional>

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

// A query at q sees keys at k with k <= q and q - k < window: 0 there, -infinity elsewhere. -> (T, T)
at::Tensor window_mask(int64_t length, int64_t window, at::ScalarType kind) {
  const at::Tensor index = at::arange(length, at::kLong), distance = index.unsqueeze(1) - index.unsqueeze(0);
  const at::Tensor seen = distance.ge(0).logical_and(distance.lt(window));
  return at::where(seen, 0.0, -std::numeric_limits<double>::infinity()).to(kind);
}

}  // namespace

struct AttentionPass::Item {
  const LayerConfig* layer;
  int64_t begin, length, key_head;
  double scale;
  int64_t window;  // 0: sees all that came before

  int64_t groups() const { return layer->n_heads / layer->n_kv_heads; }

  // x (N, heads * D) -> (count, T, D), a view
  at::Tensor heads(const at::Tensor& x, int64_t first, int64_t count) const {
    return x.view({x.size(0), -1, layer->head_dim}).narrow(0, begin, length).narrow(1, first, count).transpose(0, 1);
  }
  at::Tensor queries(const at::Tensor& x) const { return heads(x, key_head * groups(), groups()); }
  at::Tensor keys(const at::Tensor& x) const { return heads(x, key_head, 1); }
  // (1, G, T, D), each key head seen by the queries of its group
  at::Tensor shared(const at::Tensor& x) const {
    return keys(x).expand({groups(), length, layer->head_dim}).unsqueeze(0);
  }
  std::optional<at::Tensor> mask(at::ScalarType kind) const {
    return window == 0 ? std::nullopt : std::optional<at::Tensor>(window_mask(length, window, kind));
  }
  // Calls visit(row of (N * heads, D), position) for its queries or its key.
  template <class Visit>
  void each_row(int64_t heads, int64_t first, int64_t count, Visit&& visit) const {
    for (int64_t t = 0; t < length; ++t)
      for (int64_t h = first; h < first + count; ++h) visit((begin + t) * heads + h, t, h - first);
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
  std::vector<Item> items;
  int64_t begin = 0;
  for (const int64_t length : batch.lengths) {
    const bool windowed = of.kind == LayerKind::SlidingAttention && length > config_.sliding_window;
    for (int64_t head = 0; head < of.n_kv_heads; ++head)
      items.push_back(
          {&of, begin, length, head, config_.score_scale(of), windowed ? config_.sliding_window : int64_t{0}});
    begin += length;
  }
  return items;
}

void AttentionPass::forward(Team& team, const TokenBatch& batch, int64_t layer, const HeadNorms& norms,
                            AttentionTape& tape) const {
  const std::vector<Item> items = items_of(batch, layer);
  tape.log_sums.assign(items.size(), {});
  const float* angle = angles(layer);
  team.run(static_cast<int64_t>(items.size()), [&](int64_t i) {
    const Item& item = items[static_cast<size_t>(i)];
    const int64_t dim = item.layer->head_dim, half = dim / 2;
    const auto turn = [&](const at::Tensor& raw, const at::Tensor& turned, const at::Tensor& norm, int64_t first,
                          int64_t count) {
      const at::Tensor from = (norm.defined() ? raw : turned).view({-1, dim}), to = turned.view({-1, dim});
      Row source(from), target(to);
      item.each_row(turned.size(1) / dim, first, count, [&](int64_t row, int64_t t, int64_t) {
        float* x = norm.defined() ? target.blank(row) : target.load(row);
        if (norm.defined()) norm_row(source.load(row), norm.const_data_ptr<float>(), dim, config_.norm_epsilon, x);
        rotate_row(x, angle + 2 * t * half, angle + (2 * t + 1) * half, half, false);
        target.store();
      });
    };
    turn(tape.raw_query, tape.query, norms.query, item.key_head * item.groups(), item.groups());
    turn(tape.raw_key, tape.key, norms.key, item.key_head, 1);
    const auto [out, log_sums] = at::_scaled_dot_product_flash_attention_for_cpu(
        item.queries(tape.query).unsqueeze(0), item.shared(tape.key), item.shared(tape.value), 0.0, item.window == 0,
        item.mask(tape.query.scalar_type()), item.scale);
    item.queries(tape.mixed).copy_(out.squeeze(0));
    tape.log_sums[static_cast<size_t>(i)] = log_sums;
  });
}

void AttentionPass::backward(Team& team, const TokenBatch& batch, int64_t layer, const HeadNorms& norms,
                             const AttentionTape& tape, const at::Tensor& by_mixed, const HeadTap& by_tap,
                             AttentionTape& by, HeadNorms& by_norms) const {
  const std::vector<Item> items = items_of(batch, layer);
  const float* angle = angles(layer);
  const int64_t dim = config_.layers[static_cast<size_t>(layer)].head_dim, half = dim / 2;
  const auto n_items = static_cast<int64_t>(items.size());
  const at::Tensor by_query_norms = at::zeros({n_items, dim}, at::kFloat),
                   by_key_norms = at::zeros_like(by_query_norms);
  team.run(n_items, [&](int64_t i) {
    const Item& item = items[static_cast<size_t>(i)];
    const at::Tensor query = item.queries(tape.query).unsqueeze(0);
    const auto [by_query, by_key, by_value] = at::_scaled_dot_product_flash_attention_for_cpu_backward(
        item.queries(by_mixed).unsqueeze(0), query, item.shared(tape.key), item.shared(tape.value),
        item.queries(tape.mixed).unsqueeze(0), tape.log_sums[static_cast<size_t>(i)], 0.0, item.window == 0,
        item.mask(query.scalar_type()), item.scale);
    const at::Tensor by_own_value = by_value.squeeze(0).to(at::kFloat).sum(0, true);
    item.keys(by.value).copy_(by_tap.value.defined() ? by_own_value + item.keys(by_tap.value) : by_own_value);
    const auto turn_back = [&](const at::Tensor& by_turned, const at::Tensor& raw, const at::Tensor& norm,
                               at::Tensor by_norm, at::Tensor& by_raw, int64_t first, int64_t count) {
      const at::Tensor given = by_turned.contiguous();  // (count, T, D) f32
      Row target(by_raw.view({-1, dim})), source(norm.defined() ? raw.view({-1, dim}) : given.view({-1, dim}));
      std::vector<float> scratch(static_cast<size_t>(dim));
      item.each_row(by_raw.size(1) / dim, first, count, [&](int64_t row, int64_t t, int64_t head) {
        float* x = given.mutable_data_ptr<float>() + (head * item.length + t) * dim;
        rotate_row(x, angle + 2 * t * half, angle + (2 * t + 1) * half, half, true);
        float* out = target.blank(row);
        if (norm.defined()) {
          const auto* w = norm.const_data_ptr<float>();
          const float* before = source.load(row);
          const float inverse = norm_row(before, w, dim, config_.norm_epsilon, scratch.data());
          std::fill_n(out, dim, 0.0f);
          norm_row_backward(x, before, w, inverse, dim, out, by_norm.mutable_data_ptr<float>());
        } else {
          std::copy_n(x, dim, out);
        }
        target.store();
      });
    };
    at::Tensor by_queries = by_query.squeeze(0).to(at::kFloat), by_keys = by_key.squeeze(0).to(at::kFloat).sum(0, true);
    if (by_tap.query.defined()) by_queries = by_queries + item.queries(by_tap.query);
    if (by_tap.key.defined()) by_keys = by_keys + item.keys(by_tap.key);
    turn_back(by_queries, tape.raw_query, norms.query, by_query_norms[i], by.query, item.key_head * item.groups(),
              item.groups());
    turn_back(by_keys, tape.raw_key, norms.key, by_key_norms[i], by.key, item.key_head, 1);
  });
  for (int64_t i = 0; i < n_items; ++i) {
    if (by_norms.query.defined()) by_norms.query.add_(by_query_norms[i]);
    if (by_norms.key.defined()) by_norms.key.add_(by_key_norms[i]);
  }
}

}  // namespace attar
