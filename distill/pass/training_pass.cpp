#include "distill/pass/training_pass.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <cassert>
#include <cmath>
#include <utility>

#include "distill/pass/products.h"
#include "distill/pass/row_math.h"

namespace attar {
namespace {

// Batches come in many lengths: their rows are rounded up, so that products come in few shapes, each of which oneDNN
// compiles once. Rows behind the batch are 0, and so is what they add.
constexpr int64_t kRowsStep = 128;

at::Tensor* wanted(NamedTensors& gradients, const std::string& name) {
  const auto found = gradients.find(name);
  return found == gradients.end() ? nullptr : &found->second;
}

void want_weight_gradient(std::vector<Product>& products, NamedTensors& gradients, const std::string& name,
                          const at::Tensor& by_output, const at::Tensor& input) {
  if (const at::Tensor* gradient = wanted(gradients, name))
    products.push_back(weight_gradient(*gradient, by_output, input));
}

// The gradient by a weight of every row's (n), summed in the order of the rows.
class SumOverRows {
 public:
  SumOverRows(int64_t rows, int64_t n) : parts_(at::zeros({(rows + Team::kRows - 1) / Team::kRows, n}, at::kFloat)) {}
  float* of(int64_t begin) const { return parts_.mutable_data_ptr<float>() + begin / Team::kRows * parts_.size(1); }
  void add_to(const at::Tensor* gradient) const {
    const int64_t n = parts_.size(1);
    for (int64_t i = 0; gradient != nullptr && i < parts_.size(0); ++i)
      add_row(parts_.const_data_ptr<float>() + i * n, n, gradient->mutable_data_ptr<float>());
  }

 private:
  at::Tensor parts_;
};

}  // namespace

PassWeights::PassWeights(const CausalLM& model, Precision precision, Team& team)
    : model_(model), kind_(precision == Precision::Bf16 ? at::kBFloat16 : at::kFloat) {
  for (const TensorSpec& spec : tensor_specs(model.config))
    if (spec.is_matrix() && kind_ != at::kFloat) tensors_[spec.name] = at::empty(spec.shape, kind_);
  refresh(team);
}

void PassWeights::refresh(Team& team) {
  for (const TensorSpec& spec : tensor_specs(model_.config)) {
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

TrainingPass::TrainingPass(const PassWeights& weights, Team& team, bool keeps, TapPlan plan)
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
  for (const LayerConfig& of : config_.layers) {
    if (!keeps_) kept_.restart();
    scratch_.restart();
    const int64_t queries = of.n_heads * of.head_dim, keys = of.n_kv_heads * of.head_dim;
    const auto keep = [&](int64_t columns) { return kept_.take(rows_, columns, kind); };
    const auto lend = [&](int64_t columns) { return scratch_.take(rows_, columns, kind); };
    normed_ = lend(width), output_ = lend(width), by_output_ = lend(width);
    for (at::Tensor& by : by_normed_) by = lend(width);
    last_stream_ = scratch_.take(rows_, width, at::kFloat), by_stream_ = scratch_.take(rows_, width, at::kFloat);
    Layer layer;
    layer.before_attention = kept_.take(rows_, width, at::kFloat);
    layer.before_ffn = kept_.take(rows_, width, at::kFloat);
    layer.from_attention = family_.sandwich_norms ? keep(width) : output_;
    layer.from_ffn = family_.sandwich_norms ? keep(width) : output_;
    layer.attention = {keep(queries), keep(keys), keep(keys), {}, {}, keep(queries)};
    if (family_.qk_norm) layer.attention.raw_query = keep(queries), layer.attention.raw_key = keep(keys);
    layer.gate = keep(of.ffn_width), layer.up = keep(of.ffn_width);
    layer.gated = lend(of.ffn_width), layer.by_gated = lend(of.ffn_width), layer.by_mixed = lend(queries);
    layer.by_attention = {lend(queries), lend(keys), lend(keys), {}, {}, {}};
    layers_.push_back(layer);
  }
}

// --- forward

at::Tensor TrainingPass::forward(const TokenBatch& batch) {
  reserve(batch);
  embed();
  taps_.clear();
  const int64_t n_layers = config_.n_layers();
  for (int64_t i = 0; i < n_layers; ++i) {
    const at::Tensor& next = i + 1 < n_layers ? layers_[static_cast<size_t>(i + 1)].before_attention : last_stream_;
    forward_layer(i, next);
    keep_taps(i, next);
  }
  at::Tensor hidden = at::empty({tokens_, config_.width}, at::kFloat);
  const auto* weight = weights_.of(0, Role::OutputNorm).const_data_ptr<float>();
  team_.rows(tokens_, [&](int64_t begin, int64_t end) {
    Row x(last_stream_), y(hidden);
    for (int64_t r = begin; r < end; ++r) norm_row(x.load(r), weight, config_.width, config_.norm_epsilon, y.blank(r));
  });
  return hidden;
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

void TrainingPass::forward_layer(int64_t index, const at::Tensor& next) {
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
  add_output(layer.before_ffn, index, Role::PostFfnNorm, layer.from_ffn, next);
}

// Copies where the memory is the next layer's too.
void TrainingPass::keep_taps(int64_t index, const at::Tensor& next) {
  const auto kept = [&](const at::Tensor& x) {
    const at::Tensor of_the_batch = x.narrow(0, 0, tokens_);
    return keeps_ ? of_the_batch : of_the_batch.clone();
  };
  const AttentionTape& heads = layers_[static_cast<size_t>(index)].attention;
  if (plan_.hidden.contains(index)) taps_[index].hidden = kept(next);
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

// --- backward

void TrainingPass::backward(const at::Tensor& by_hidden, NamedTensors& gradients, const LayerTaps& by_taps) {
  assert(keeps_);
  const int64_t width = config_.width;
  const auto* w = weights_.of(0, Role::OutputNorm).const_data_ptr<float>();
  const SumOverRows by_norm(rows_, width);
  team_.rows(rows_, [&](int64_t begin, int64_t end) {
    Row x(last_stream_), by_y(by_hidden), by_x(by_stream_);
    std::vector<float> normed(static_cast<size_t>(width));
    for (int64_t r = begin; r < end; ++r) {
      float* out = by_x.blank(r);
      std::fill_n(out, width, 0.0f);
      if (r >= tokens_) continue;
      const float inverse = norm_row(x.load(r), w, width, config_.norm_epsilon, normed.data());
      norm_row_backward(by_y.load(r), x.load(r), w, inverse, width, out, by_norm.of(begin));
    }
  });
  by_norm.add_to(wanted(gradients, tensor_name(0, Role::OutputNorm)));
  for (int64_t layer = config_.n_layers() - 1; layer >= 0; --layer) {
    const auto tap = by_taps.find(layer);
    const LayerTap by_tap = tap == by_taps.end() ? LayerTap{} : tap->second;
    if (by_tap.hidden.defined()) by_stream_.narrow(0, 0, tokens_).add_(by_tap.hidden);
    backward_ffn(layer, gradients);
    backward_attention(layer, by_tap.heads, gradients);
  }
  backward_embedding(gradients);
}

void TrainingPass::backward_ffn(int64_t index, NamedTensors& gradients) {
  Layer& layer = layers_[static_cast<size_t>(index)];
  const auto name = [&](Role role) { return tensor_name(index, role); };
  through_output(index, Role::PostFfnNorm, layer.from_ffn, gradients);
  multiply(team_, {input_gradient(layer.by_gated, by_output_, weights_.of(index, Role::Down))});
  team_.rows(rows_, [&](int64_t begin, int64_t end) {
    Row gate(layer.gate), up(layer.up), by_gated(layer.by_gated), gated(layer.gated);
    for (int64_t r = begin; r < end; ++r) {
      float *g = gate.load(r), *u = up.load(r);
      gate_row_backward(g, u, by_gated.load(r), layer.gate.size(1), family_.gelu, gated.blank(r), g, u);
      gate.store(), up.store(), gated.store();
    }
  });  // gate and up hold the gradients by them
  std::vector<Product> products{input_gradient(by_normed_[0], layer.gate, weights_.of(index, Role::Gate)),
                                input_gradient(by_normed_[1], layer.up, weights_.of(index, Role::Up))};
  want_weight_gradient(products, gradients, name(Role::Down), by_output_, layer.gated);
  multiply(team_, products);
  through_norm(index, Role::FfnNorm, layer.before_ffn, 2, gradients);
  products.clear();
  want_weight_gradient(products, gradients, name(Role::Gate), layer.gate, normed_);
  want_weight_gradient(products, gradients, name(Role::Up), layer.up, normed_);
  multiply(team_, products);
}

void TrainingPass::backward_attention(int64_t index, const HeadTap& by_tap, NamedTensors& gradients) {
  Layer& layer = layers_[static_cast<size_t>(index)];
  AttentionTape& by = layer.by_attention;
  const auto name = [&](Role role) { return tensor_name(index, role); };
  through_output(index, Role::PostAttentionNorm, layer.from_attention, gradients);
  std::vector<Product> products{input_gradient(layer.by_mixed, by_output_, weights_.of(index, Role::AttentionOutput))};
  want_weight_gradient(products, gradients, name(Role::AttentionOutput), by_output_, layer.attention.mixed);
  multiply(team_, products);
  HeadNorms by_norms;
  if (const at::Tensor* norm = wanted(gradients, name(Role::QueryNorm))) by_norms.query = *norm;
  if (const at::Tensor* norm = wanted(gradients, name(Role::KeyNorm))) by_norms.key = *norm;
  for (const at::Tensor& tensor : {by.query, by.key, by.value}) tensor.narrow(0, tokens_, rows_ - tokens_).zero_();
  attention_->backward(team_, batch_, index, head_norms(index), layer.attention, layer.by_mixed, by_tap, by, by_norms);
  if (family_.qkv_bias) backward_biases(index, gradients);
  multiply(team_, {input_gradient(by_normed_[0], by.query, weights_.of(index, Role::Query)),
                   input_gradient(by_normed_[1], by.key, weights_.of(index, Role::Key)),
                   input_gradient(by_normed_[2], by.value, weights_.of(index, Role::Value))});
  through_norm(index, Role::AttentionNorm, layer.before_attention, 3, gradients);
  products.clear();
  want_weight_gradient(products, gradients, name(Role::Query), by.query, normed_);
  want_weight_gradient(products, gradients, name(Role::Key), by.key, normed_);
  want_weight_gradient(products, gradients, name(Role::Value), by.value, normed_);
  multiply(team_, products);
}

// by_output_ = the gradient by what a half gives, `output`, from that by the stream
void TrainingPass::through_output(int64_t layer, Role sandwich, const at::Tensor& output, NamedTensors& gradients) {
  const int64_t width = config_.width;
  const auto* w = family_.sandwich_norms ? weights_.of(layer, sandwich).const_data_ptr<float>() : nullptr;
  const SumOverRows by_norm(w == nullptr ? 0 : rows_, width);
  team_.rows(rows_, [&](int64_t begin, int64_t end) {
    Row by_x(by_stream_), y(output), by_y(by_output_);
    std::vector<float> normed(static_cast<size_t>(width));
    for (int64_t r = begin; r < end; ++r) {
      const float* given = by_x.load(r);
      float* out = by_y.blank(r);
      if (w == nullptr) {
        std::copy_n(given, width, out);
      } else {
        const float* x = y.load(r);
        const float inverse = norm_row(x, w, width, config_.norm_epsilon, normed.data());
        std::fill_n(out, width, 0.0f);
        norm_row_backward(given, x, w, inverse, width, out, by_norm.of(begin));
      }
      by_y.store();
    }
  });
  if (w != nullptr) by_norm.add_to(wanted(gradients, tensor_name(layer, sandwich)));
}

// by_stream_ += what the first n_products of by_normed_ make of it through a norm; normed_ = the norm of the stream,
// for the gradients by the weights behind it
void TrainingPass::through_norm(int64_t layer, Role norm, const at::Tensor& stream, size_t n_products,
                                NamedTensors& gradients) {
  const int64_t width = config_.width;
  const auto* w = weights_.of(layer, norm).const_data_ptr<float>();
  const SumOverRows by_norm(rows_, width);
  team_.rows(rows_, [&](int64_t begin, int64_t end) {
    Row before(stream), y(normed_), by_x(by_stream_);
    std::vector<Row> products(by_normed_.begin(), by_normed_.begin() + static_cast<std::ptrdiff_t>(n_products));
    std::vector<float> by_y(static_cast<size_t>(width));
    for (int64_t r = begin; r < end; ++r) {
      std::fill_n(by_y.data(), width, 0.0f);
      for (Row& product : products) add_row(product.load(r), width, by_y.data());
      const float* x = before.load(r);
      const float inverse = norm_row(x, w, width, config_.norm_epsilon, y.blank(r));
      y.store();
      norm_row_backward(by_y.data(), x, w, inverse, width, by_x.load(r), by_norm.of(begin));
    }
  });
  by_norm.add_to(wanted(gradients, tensor_name(layer, norm)));
}

void TrainingPass::backward_biases(int64_t index, NamedTensors& gradients) {
  const AttentionTape& by = layers_[static_cast<size_t>(index)].by_attention;
  for (const auto& [tensor, role] :
       {std::pair(by.query, Role::QueryBias), std::pair(by.key, Role::KeyBias), std::pair(by.value, Role::ValueBias)}) {
    const SumOverRows sum(tokens_, tensor.size(1));
    team_.rows(tokens_, [&, given = tensor](int64_t begin, int64_t end) {
      Row x(given);
      for (int64_t r = begin; r < end; ++r) add_row(x.load(r), given.size(1), sum.of(begin));
    });
    sum.add_to(wanted(gradients, tensor_name(index, role)));
  }
}

// Rows of the embedding are shared out by their ids, so that each is added to in the order of the tokens.
void TrainingPass::backward_embedding(NamedTensors& gradients) {
  const at::Tensor* gradient = wanted(gradients, tensor_name(0, Role::Embedding));
  if (gradient == nullptr) return;
  constexpr int64_t kParts = 16;
  const int64_t width = config_.width;
  const auto scale = static_cast<float>(family_.scaled_embedding ? std::sqrt(static_cast<double>(width)) : 1.0);
  const auto* ids = batch_.tokens.const_data_ptr<int64_t>();
  const auto* by_x = by_stream_.const_data_ptr<float>();
  auto* out = gradient->mutable_data_ptr<float>();
  team_.run(kParts, [&](int64_t part) {
    for (int64_t r = 0; r < tokens_; ++r)
      if (ids[r] % kParts == part)
        for (int64_t i = 0; i < width; ++i) out[ids[r] * width + i] += scale * by_x[r * width + i];
  });
}

}  // namespace attar
