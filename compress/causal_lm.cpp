#include "compress/causal_lm.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/cos.h>
#include <ATen/ops/embedding.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/outer.h>
#include <ATen/ops/rms_norm.h>
#include <ATen/ops/scaled_dot_product_attention.h>
#include <ATen/ops/silu.h>
#include <ATen/ops/sin.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include <cassert>
#include <cmath>
#include <numbers>

#include "compress/weight_source.h"
#include "runtime/base/random.h"
#include "runtime/formats/finite.h"

namespace attar {
namespace {

at::Tensor normal_tensor(const TensorSpec& spec, double deviation, uint64_t seed, uint64_t stream) {
  const CounterRandom random(seed, stream);
  at::Tensor tensor = at::empty(spec.shape, at::kFloat);
  auto* values = tensor.data_ptr<float>();
  for (int64_t i = 0; i < tensor.numel(); ++i) {  // Box-Muller
    const double u = 1.0 - random.uniform(static_cast<uint64_t>(2 * i)),
                 v = random.uniform(static_cast<uint64_t>(2 * i + 1));
    values[i] = static_cast<float>(deviation * std::sqrt(-2.0 * std::log(u)) * std::cos(2.0 * std::numbers::pi * v));
  }
  return tensor;
}

at::Tensor norm(const CausalLM& model, const at::Tensor& x, const at::Tensor& weight) {
  const bool plus_one = traits(model.config.family).norm_plus_one;
  return at::rms_norm(x.to(weight.scalar_type()), {x.size(-1)}, plus_one ? weight + 1.0 : weight,
                      model.config.norm_epsilon);
}

at::Tensor linear(const CausalLM& model, int64_t layer, Role weight, const at::Tensor& x,
                  const std::optional<at::Tensor>& bias = std::nullopt) {
  const at::Tensor y = at::linear(x, model.block_parameter(layer, weight), bias);
  if (model.outputs != nullptr) (*model.outputs)[tensor_name(layer, weight)] = y;
  return y;
}

at::Tensor project(const CausalLM& model, int64_t layer, Role weight, Role bias, const at::Tensor& x) {
  const bool biased = traits(model.config.family).qkv_bias;
  return linear(model, layer, weight, x,
                biased ? std::optional<at::Tensor>(model.block_parameter(layer, bias)) : std::nullopt);
}

// Angles of a batch: cosine and sine, (N, 1, D), the two halves alike.
std::pair<at::Tensor, at::Tensor> rope_tables(const CausalLM& model, const LayerConfig& layer,
                                              const at::Tensor& positions) {
  const std::vector<double> frequencies = rope_frequencies(model.config, layer);
  const at::Tensor frequency = at::tensor(frequencies, at::kDouble).to(positions.device());
  const at::Tensor angles = at::outer(positions.to(at::kDouble), frequency);  // (N, D / 2)
  const at::Tensor both = at::cat({angles, angles}, 1).unsqueeze(1);          // (N, 1, D)
  return {at::cos(both).to(at::kFloat), at::sin(both).to(at::kFloat)};
}

// x (N, heads, D): pairs (j, j + D / 2) are rotated.
at::Tensor rotate(const at::Tensor& x, const at::Tensor& cosine, const at::Tensor& sine) {
  const int64_t half = x.size(2) / 2;
  const at::Tensor turned = at::cat({-x.narrow(2, half, half), x.narrow(2, 0, half)}, 2);
  return x * cosine + turned * sine;
}

// A query at q sees keys at k with k <= q and q - k < window. -> (T, T) bool
at::Tensor window_mask(int64_t length, int64_t window, c10::Device device) {
  const at::Tensor index = at::arange(length, at::TensorOptions().dtype(at::kLong).device(device));
  const at::Tensor distance = index.unsqueeze(1) - index.unsqueeze(0);
  return distance.ge(0).logical_and(distance.lt(window));
}

// q (N, H, D), k and v (N, K, D) -> (N, H * D); each document attends to itself alone.
at::Tensor attend(const CausalLM& model, const LayerConfig& layer, const TokenBatch& batch, const at::Tensor& q,
                  const at::Tensor& k, const at::Tensor& v) {
  const int64_t groups = layer.n_heads / layer.n_kv_heads;
  const auto heads_first = [](const at::Tensor& x) { return x.transpose(0, 1).unsqueeze(0); };  // (1, heads, T, D)
  const auto repeated = [&](const at::Tensor& x) {  // (T, K, D) -> (1, H, T, D)
    if (groups == 1) return heads_first(x);
    return heads_first(x.unsqueeze(2)
                           .expand({x.size(0), x.size(1), groups, x.size(2)})
                           .reshape({x.size(0), layer.n_heads, x.size(2)}));
  };
  std::vector<at::Tensor> outputs;
  int64_t begin = 0;
  for (const int64_t length : batch.lengths) {
    const bool windowed = layer.kind == LayerKind::SlidingAttention && length > model.config.sliding_window;
    const std::optional<at::Tensor> mask =
        windowed ? std::optional<at::Tensor>(window_mask(length, model.config.sliding_window, q.device()))
                 : std::nullopt;
    const at::Tensor out = at::scaled_dot_product_attention(
        heads_first(q.narrow(0, begin, length)), repeated(k.narrow(0, begin, length)),
        repeated(v.narrow(0, begin, length)), mask, 0.0, !windowed, model.config.score_scale(layer));
    outputs.push_back(out.squeeze(0).transpose(0, 1).reshape({length, layer.n_heads * layer.head_dim}));
    begin += length;
  }
  return outputs.size() == 1 ? outputs[0] : at::cat(outputs, 0);
}

at::Tensor attention_input(const CausalLM& model, int64_t layer_index, const TokenBatch& batch, const at::Tensor& x) {
  const LayerConfig& layer = model.config.layers[static_cast<size_t>(layer_index)];
  const auto [q, k] = queries_keys(model, layer_index, batch, x);
  return attend(model, layer, batch, q, k, head_values(model, layer_index, x));
}

at::Tensor gated(const CausalLM& model, int64_t layer, const at::Tensor& x) {
  const at::Tensor gate = linear(model, layer, Role::Gate, x), up = linear(model, layer, Role::Up, x);
  return (traits(model.config.family).gelu ? at::gelu(gate, "tanh") : at::silu(gate)) * up;
}

}  // namespace

std::vector<Role> group_roles(const ModelConfig& config, LinearGroup group) {
  switch (group) {
    case LinearGroup::QueryKeyValue:
      return {Role::Query, Role::Key, Role::Value};
    case LinearGroup::AttentionOutput:
      return {Role::AttentionOutput};
    case LinearGroup::GateUp:
      return {Role::Gate, Role::Up};
    case LinearGroup::Down:
      return {Role::Down};
    case LinearGroup::Head:
      return {config.tied_embeddings ? Role::Embedding : Role::Output};
  }
  return {};
}

CausalLM CausalLM::random(const ModelConfig& config, uint64_t seed) {
  CausalLM model{config, {}};
  const double depth = std::sqrt(2.0 * static_cast<double>(config.n_layers()));
  const double deviation = std::sqrt(2.0 / (5.0 * static_cast<double>(config.width)));  // 0.02 at width 1000
  uint64_t stream = 0;
  for (const TensorSpec& spec : tensor_specs(config)) {
    ++stream;
    const bool into_residual = spec.role == Role::AttentionOutput || spec.role == Role::Down;
    if (is_norm(spec.role))
      model.parameters[spec.name] =
          traits(config.family).norm_plus_one ? at::zeros(spec.shape) : at::zeros(spec.shape) + 1.0;
    else if (spec.is_matrix())
      model.parameters[spec.name] = normal_tensor(spec, into_residual ? deviation / depth : deviation, seed, stream);
    else
      model.parameters[spec.name] = at::zeros(spec.shape);
  }
  return model;
}

CausalLM CausalLM::load(const ModelFile& file) {
  CausalLM model{file.config(), {}};
  for (const TensorSpec& spec : tensor_specs(model.config)) {
    const at::Tensor values = WeightSource(file).tensor(spec);
    require_finite(spec.name, {values.const_data_ptr<float>(), static_cast<size_t>(values.numel())});
    model.parameters[spec.name] = values;
  }
  return model;
}

CausalLM CausalLM::clone() const {
  CausalLM copy{config, {}};
  for (const auto& [name, tensor] : parameters) copy.parameters[name] = tensor.detach().clone();
  return copy;
}

void CausalLM::set_requires_grad(bool on) {
  for (auto& [name, tensor] : parameters) tensor.set_requires_grad(on);
}

const at::Tensor& CausalLM::parameter(const std::string& name) const {
  const auto found = parameters.find(name);
  assert(found != parameters.end());
  return found->second;
}
const at::Tensor& CausalLM::block_parameter(int64_t layer, Role role) const {
  return parameter(tensor_name(layer, role));
}
const at::Tensor& CausalLM::head() const {
  return parameter(tensor_name(0, config.tied_embeddings ? Role::Embedding : Role::Output));
}

at::Tensor embed(const CausalLM& model, const TokenBatch& batch) {
  const at::Tensor hidden = at::embedding(model.parameter(tensor_name(0, Role::Embedding)), batch.tokens);
  return traits(model.config.family).scaled_embedding ? hidden * std::sqrt(static_cast<double>(model.config.width))
                                                      : hidden;
}

QueriesKeys queries_keys(const CausalLM& model, int64_t layer_index, const TokenBatch& batch, const at::Tensor& x) {
  const LayerConfig& layer = model.config.layers[static_cast<size_t>(layer_index)];
  const auto split = [&](const at::Tensor& y, int64_t heads) { return y.view({y.size(0), heads, layer.head_dim}); };
  at::Tensor q = split(project(model, layer_index, Role::Query, Role::QueryBias, x), layer.n_heads);
  at::Tensor k = split(project(model, layer_index, Role::Key, Role::KeyBias, x), layer.n_kv_heads);
  if (traits(model.config.family).qk_norm) {
    q = norm(model, q, model.block_parameter(layer_index, Role::QueryNorm));
    k = norm(model, k, model.block_parameter(layer_index, Role::KeyNorm));
  }
  const auto [cosine, sine] = rope_tables(model, layer, batch.positions);
  return {rotate(q, cosine, sine), rotate(k, cosine, sine)};
}

at::Tensor head_values(const CausalLM& model, int64_t layer_index, const at::Tensor& x) {
  const LayerConfig& layer = model.config.layers[static_cast<size_t>(layer_index)];
  const at::Tensor v = project(model, layer_index, Role::Value, Role::ValueBias, x);
  return v.view({v.size(0), layer.n_kv_heads, layer.head_dim});
}

at::Tensor group_input(const CausalLM& model, int64_t layer, LinearGroup group, const TokenBatch& batch,
                       const at::Tensor& hidden) {
  switch (group) {
    case LinearGroup::QueryKeyValue:
      return norm(model, hidden, model.block_parameter(layer, Role::AttentionNorm));
    case LinearGroup::AttentionOutput:
      return attention_input(model, layer, batch, group_input(model, layer, LinearGroup::QueryKeyValue, batch, hidden));
    case LinearGroup::GateUp:
      return norm(model, hidden, model.block_parameter(layer, Role::FfnNorm));
    case LinearGroup::Down:
      return gated(model, layer, group_input(model, layer, LinearGroup::GateUp, batch, hidden));
    case LinearGroup::Head:
      return final_norm(model, hidden);
  }
  return {};
}

at::Tensor group_output(const CausalLM& model, int64_t layer, LinearGroup group, const at::Tensor& input) {
  assert(group == LinearGroup::AttentionOutput || group == LinearGroup::Down);
  return linear(model, layer, group_roles(model.config, group).front(), input);
}

at::Tensor add_output(const CausalLM& model, int64_t layer, LinearGroup group, const at::Tensor& hidden,
                      const at::Tensor& output) {
  if (!traits(model.config.family).sandwich_norms) return hidden + output;
  const Role sandwich = group == LinearGroup::Down ? Role::PostFfnNorm : Role::PostAttentionNorm;
  return hidden + norm(model, output, model.block_parameter(layer, sandwich));
}

at::Tensor forward_block(const CausalLM& model, int64_t layer, const at::Tensor& hidden, const TokenBatch& batch) {
  at::Tensor stream = hidden;
  for (const LinearGroup group : {LinearGroup::AttentionOutput, LinearGroup::Down}) {
    const at::Tensor input = group_input(model, layer, group, batch, stream);
    stream = add_output(model, layer, group, stream, group_output(model, layer, group, input));
  }
  return stream;
}

at::Tensor final_norm(const CausalLM& model, const at::Tensor& hidden) {
  return norm(model, hidden, model.parameter(tensor_name(0, Role::OutputNorm)));
}

at::Tensor forward_hidden(const CausalLM& model, const TokenBatch& batch) {
  at::Tensor hidden = embed(model, batch);
  for (int64_t layer = 0; layer < model.config.n_layers(); ++layer) hidden = forward_block(model, layer, hidden, batch);
  return final_norm(model, hidden);
}

at::Tensor logits(const CausalLM& model, const TokenBatch& batch) {
  return at::linear(forward_hidden(model, batch), model.head());
}

}  // namespace attar
