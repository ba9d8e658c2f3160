// The way back: gradients by weights and stream, a layer at a time, out of what forward kept.
#include <ATen/TensorOperators.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <cassert>
#include <cmath>
#include <utility>

#include "distill/pass/products.h"
#include "distill/pass/row_math.h"
#include "distill/pass/training_pass.h"

namespace attar {
namespace {

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

void TrainingPass::backward(const at::Tensor& by_hidden, NamedTensors& gradients, const LayerTaps& by_taps) {
  assert(keeps_ != Keeps::Nothing);
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
  go_back(gradients, by_taps);
  backward_embedding(gradients);
}

void TrainingPass::backward_layers(const at::Tensor& by_stream, NamedTensors& gradients) {
  assert(keeps_ != Keeps::Nothing);
  by_stream_.narrow(0, 0, tokens_).copy_(by_stream);
  by_stream_.narrow(0, tokens_, rows_ - tokens_).zero_();
  go_back(gradients, {});
}

void TrainingPass::go_back(NamedTensors& gradients, const LayerTaps& by_taps) {
  for (int64_t layer = config_.n_layers() - 1; layer >= 0; --layer) {
    const auto tap = by_taps.find(layer);
    const LayerTap by_tap = tap == by_taps.end() ? LayerTap{} : tap->second;
    if (by_tap.hidden.defined()) by_stream_.narrow(0, 0, tokens_).add_(by_tap.hidden);
    if (keeps_ == Keeps::Streams) forward_layer(layer);  // gives the same bits as before
    backward_ffn(layer, gradients);
    backward_attention(layer, by_tap.heads, gradients);
  }
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
