#include "distill/pass/training_pass.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "distill/pass/products.h"
#include "distill/pass/row_math.h"

namespace attar {
namespace {

// Batches come in many lengths: their rows are rounded up, so that products come in few shapes, each of which oneDNN
// compiles once. Rows behind the batch are 0, and so is what they add.
constexpr int64_t kRowsStep = 128;

}  // namespace

PassWeights::PassWeights(const CausalLM& model, Precision precision, Team& team)
    : model_(model), kind_(precision == Precision::Bf16 ? at::kBFloat16 : at::kFloat) {
  for (const TensorSpec& spec : tensor_specs(model.config))
    if (spec.is_matrix() && kind_ != at::kFloat && model.parameters.contains(spec.name))
      tensors_[spec.name] = at::empty(spec.shape, kind_);
  refresh(team);
}

void PassWeights::refresh(Team& team) {
  for (const TensorSpec& spec : tensor_specs(model_.config)) {
    if (!model_.parameters.contains(spec.name)) continue;
    const at::Tensor& given = model_.parameter(spec.name);
    if (is_norm(spec.role) && traits(model_.config.family).norm_plus_one) {
      tensors_[spec.name] = given.detach() + 1.0;
    } else if (!spec.is_matrix() || kind_ == at::kFloat) {
      tensors_[spec.name] = given.detach();
    } else {
      const auto* from = given.const_data_ptr<float>();
      auto* to = reinterpret_cast<uint16_t*>(tensors_[spec.name].mutable_data_ptr<at::BFloat16>());
      const int64_t width = given.size(1);
      team.rows(given.size(0), [&](int64_t begin, int64_t end) {
        bf16_of_floats(from + begin * width, (end - begin) * width, to + begin * width);
      });
    }
  }
}

const at::Tensor& PassWeights::head() const {
  return of(0, model_.config.tied_embeddings ? Role::Embedding : Role::Output);
}

at::Tensor TrainingPass::Memory::take(int64_t rows, int64_t columns, at::ScalarType kind) {
  if (next_ == flats_.size()) flats_.emplace_back();
  at::Tensor& flat = flats_[next_++];
  if (!flat.defined() || flat.numel() < rows * columns) flat = at::empty({rows * columns}, kind);
  return flat.narrow(0, 0, rows * columns).view({rows, columns});
}

TrainingPass::TrainingPass(const PassWeights& weights, Team& team, Keeps keeps, TapPlan plan)
    : weights_(weights),
      config_(weights.model().config),
      family_(traits(config_.family)),
      team_(team),
      keeps_(keeps),
      plan_(std::move(plan)) {}

void TrainingPass::reserve(const TokenBatch& batch) {
  batch_ = batch;
  tokens_ = batch.tokens.size(0);
  rows_ = (tokens_ + kRowsStep - 1) / kRowsStep * kRowsStep;
  attention_.emplace(config_, *std::max_element(batch.lengths.begin(), batch.lengths.end()));
  const at::ScalarType kind = weights_.kind();
  const int64_t width = config_.width;
  kept_.restart(), scratch_.restart();
  layers_.clear();
  Memory& inside = keeps_ == Keeps::Streams ? inside_ : kept_;
  for (const LayerConfig& of : config_.layers) {
    if (keeps_ == Keeps::Nothing) kept_.restart();
    inside_.restart(), scratch_.restart();
    const int64_t queries = of.n_heads * of.head_dim, keys = of.n_kv_heads * of.head_dim;
    const auto keep = [&](int64_t columns) { return inside.take(rows_, columns, kind); };
    const auto lend = [&](int64_t columns) { return scratch_.take(rows_, columns, kind); };
    normed_ = lend(width), output_ = lend(width), by_output_ = lend(width);
    for (at::Tensor& by : by_normed_) by = lend(width);
    last_stream_ = scratch_.take(rows_, width, at::kFloat), by_stream_ = scratch_.take(rows_, width, at::kFloat);
    Layer layer;
    layer.before_attention = kept_.take(rows_, width, at::kFloat);
    layer.before_ffn = inside.take(rows_, width, at::kFloat);
    layer.from_attention = family_.sandwich_norms ? keep(width) : output_;
    layer.from_ffn = family_.sandwich_norms ? keep(width) : output_;
    layer.attention = {keep(queries), keep(keys), keep(keys), {}, {}, keep(queries), {}};
    layer.attention.log_sums = inside.take(rows_, of.n_heads, at::kFloat);
    if (family_.qk_norm) layer.attention.raw_query = keep(queries), layer.attention.raw_key = keep(keys);
    layer.gate = keep(of.ffn_width), layer.up = keep(of.ffn_width);
    layer.gated = lend(of.ffn_width), layer.by_gated = lend(of.ffn_width), layer.by_mixed = lend(queries);
    layer.by_attention = {lend(queries), lend(keys), lend(keys), {}, {}, {}, {}};
    layers_.push_back(layer);
  }
}

at::Tensor TrainingPass::forward(const TokenBatch& batch) {
  reserve(batch);
  embed();
  go_through();
  at::Tensor hidden = at::empty({tokens_, config_.width}, at::kFloat);
  const auto* weight = weights_.of(0, Role::OutputNorm).const_data_ptr<float>();
  team_.rows(tokens_, [&](int64_t begin, int64_t end) {
    Row x(last_stream_), y(hidden);
    for (int64_t r = begin; r < end; ++r) norm_row(x.load(r), weight, config_.width, config_.norm_epsilon, y.blank(r));
  });
  return hidden;
}

at::Tensor TrainingPass::forward_layers(const TokenBatch& batch, const at::Tensor& stream) {
  reserve(batch);
  const at::Tensor& first = layers_.front().before_attention;
  first.narrow(0, 0, tokens_).copy_(stream);
  first.narrow(0, tokens_, rows_ - tokens_).zero_();
  go_through();
  return last_stream_.narrow(0, 0, tokens_);
}

void TrainingPass::go_through() {
  taps_.clear();
  for (int64_t i = 0; i < config_.n_layers(); ++i) {
    forward_layer(i);
    keep_taps(i);
  }
}

void TrainingPass::embed() {
  const auto* table = weights_.model().parameter(tensor_name(0, Role::Embedding)).const_data_ptr<float>();
  const auto* ids = batch_.tokens.const_data_ptr<int64_t>();
  const int64_t width = config_.width;
  const auto scale = static_cast<float>(family_.scaled_embedding ? std::sqrt(static_cast<double>(width)) : 1.0);
  team_.rows(rows_, [&](int64_t begin, int64_t end) {
    Row stream(layers_.front().before_attention);
    for (int64_t r = begin; r < end; ++r) {
      float* x = stream.blank(r);
      for (int64_t i = 0; i < width; ++i) x[i] = r < tokens_ ? table[ids[r] * width + i] * scale : 0.0f;
    }
  });
}

// The stream that a layer gives.
const at::Tensor& TrainingPass::behind(int64_t layer) const {
  return layer + 1 < config_.n_layers() ? layers_[static_cast<size_t>(layer + 1)].before_attention : last_stream_;
}

void TrainingPass::forward_layer(int64_t index) {
  Layer& layer = layers_[static_cast<size_t>(index)];
  const auto weight = [&](Role role) { return weights_.of(index, role); };
  AttentionTape& heads = layer.attention;
  normalize(layer.before_attention, weight(Role::AttentionNorm));
  multiply(team_, {forward_product(family_.qk_norm ? heads.raw_query : heads.query, normed_, weight(Role::Query)),
                   forward_product(family_.qk_norm ? heads.raw_key : heads.key, normed_, weight(Role::Key)),
                   forward_product(heads.value, normed_, weight(Role::Value))});
  if (family_.qkv_bias) add_biases(index);
  heads.mixed.narrow(0, tokens_, rows_ - tokens_).zero_();
  attention_->forward(team_, batch_, index, head_norms(index), heads);
  multiply(team_, {forward_product(layer.from_attention, heads.mixed, weight(Role::AttentionOutput))});
  add_output(layer.before_attention, index, Role::PostAttentionNorm, layer.from_attention, layer.before_ffn);
  normalize(layer.before_ffn, weight(Role::FfnNorm));
  multiply(team_, {forward_product(layer.gate, normed_, weight(Role::Gate)),
                   forward_product(layer.up, normed_, weight(Role::Up))});
  team_.rows(rows_, [&](int64_t begin, int64_t end) {
    Row gate(layer.gate), up(layer.up), gated(layer.gated);
    for (int64_t r = begin; r < end; ++r) {
      gate_row(gate.load(r), up.load(r), layer.gate.size(1), family_.gelu, gated.blank(r));
      gated.store();
    }
  });
  multiply(team_, {forward_product(layer.from_ffn, layer.gated, weight(Role::Down))});
  add_output(layer.before_ffn, index, Role::PostFfnNorm, layer.from_ffn, behind(index));
}

// Copies where the memory is the next layer's too.
void TrainingPass::keep_taps(int64_t index) {
  const auto kept = [&](const at::Tensor& x) {
    const at::Tensor of_the_batch = x.narrow(0, 0, tokens_);
    return keeps_ == Keeps::All ? of_the_batch : of_the_batch.clone();
  };
  const AttentionTape& heads = layers_[static_cast<size_t>(index)].attention;
  if (plan_.hidden.contains(index)) taps_[index].hidden = kept(behind(index));
  if (plan_.heads.contains(index)) taps_[index].heads = {kept(heads.query), kept(heads.key), kept(heads.value)};
}

HeadNorms TrainingPass::head_norms(int64_t layer) const {
  if (!family_.qk_norm) return {};
  return {weights_.of(layer, Role::QueryNorm), weights_.of(layer, Role::KeyNorm)};
}

// normed_ = the norm of the stream
void TrainingPass::normalize(const at::Tensor& stream, const at::Tensor& weight) {
  const auto* w = weight.const_data_ptr<float>();
  team_.rows(rows_, [&](int64_t begin, int64_t end) {
    Row x(stream), y(normed_);
    for (int64_t r = begin; r < end; ++r) {
      norm_row(x.load(r), w, config_.width, config_.norm_epsilon, y.blank(r));
      y.store();
    }
  });
}

// next = stream + output, through the sandwich norm where the family has one
void TrainingPass::add_output(const at::Tensor& stream, int64_t layer, Role sandwich, const at::Tensor& output,
                              const at::Tensor& next) {
  const int64_t width = config_.width;
  const auto* w = family_.sandwich_norms ? weights_.of(layer, sandwich).const_data_ptr<float>() : nullptr;
  team_.rows(rows_, [&](int64_t begin, int64_t end) {
    Row before(stream), given(output), after(next);
    std::vector<float> normed(static_cast<size_t>(width));
    for (int64_t r = begin; r < end; ++r) {
      const float *x = before.load(r), *y = given.load(r);
      if (w != nullptr) norm_row(y, w, width, config_.norm_epsilon, normed.data()), y = normed.data();
      float* sum = after.blank(r);
      std::copy_n(x, width, sum);
      add_row(y, width, sum);
    }
  });
}

void TrainingPass::add_biases(int64_t index) {
  const AttentionTape& heads = layers_[static_cast<size_t>(index)].attention;
  const std::pair<at::Tensor, Role> biased[] = {{family_.qk_norm ? heads.raw_query : heads.query, Role::QueryBias},
                                                {family_.qk_norm ? heads.raw_key : heads.key, Role::KeyBias},
                                                {heads.value, Role::ValueBias}};
  team_.rows(tokens_, [&](int64_t begin, int64_t end) {
    for (const auto& [tensor, role] : biased) {
      Row x(tensor);
      for (int64_t r = begin; r < end; ++r) {
        add_row(weights_.of(index, role).const_data_ptr<float>(), tensor.size(1), x.load(r));
        x.store();
      }
    }
  });
}

}  // namespace attar
