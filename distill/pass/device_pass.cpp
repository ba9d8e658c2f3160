#include "distill/pass/device_pass.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/bmm.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/softmax.h>
#include <c10/core/GradMode.h>
#include <torch/csrc/autograd/autograd.h>

#include <cassert>
#include <limits>

namespace attar {
namespace {

// Causal attention of one document by products and a softmax alone: the way back of LibTorch's fused attention adds up
// in no fixed order on a GPU. Takes memory by the square of T. query (T, H, D), key and value (T, K, D), unseen (T, T)
// bool: where a query does not look -> (T, H * D)
at::Tensor attention_of(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
                        const at::Tensor& unseen, double scale) {
  const int64_t length = query.size(0), n_keys = key.size(1), dim = query.size(2), groups = query.size(1) / n_keys;
  const at::Tensor queries = (query * scale)
                                 .reshape({length, n_keys, groups, dim})
                                 .permute({1, 2, 0, 3})
                                 .reshape({n_keys, groups * length, dim});
  const at::Tensor scores =
      at::bmm(queries, key.permute({1, 2, 0})).reshape({n_keys, groups, length, length});  // (K, H / K, T, T)
  const at::Tensor weights =
      at::softmax(scores.masked_fill(unseen, -std::numeric_limits<double>::infinity()), -1, at::kFloat);
  return at::bmm(weights.reshape({n_keys, groups * length, length}), value.transpose(0, 1))
      .reshape({n_keys, groups, length, dim})
      .permute({2, 0, 1, 3})
      .reshape({length, n_keys * groups * dim});
}

}  // namespace

DevicePass::DevicePass(const CausalLM& model, Precision precision, c10::Device device, Keeps keeps, TapPlan plan)
    : model_(model),
      there_{model.config, {}},
      layer_names_(static_cast<size_t>(model.config.n_layers())),
      precision_(precision),
      device_(device),
      keeps_(keeps),
      plan_(std::move(plan)) {
  for (const TensorSpec& spec : tensor_specs(model.config)) {
    there_.parameters[spec.name] = at::empty(spec.shape, at::TensorOptions().dtype(at::kFloat).device(device));
    if (spec.layer >= 0) layer_names_[static_cast<size_t>(spec.layer)].push_back(spec.name);
  }
  refresh();
  if (keeps != Keeps::Nothing) there_.set_requires_grad(true);
}

void DevicePass::refresh() {
  const c10::NoGradGuard no_grad;
  for (const auto& [name, tensor] : there_.parameters) tensor.copy_(model_.parameter(name));
}

at::Tensor DevicePass::head() const {
  return there_.head().detach();
}

at::Tensor DevicePass::forward(const TokenBatch& batch) {
  const c10::AutoGradMode records(keeps_ != Keeps::Nothing);
  batch_ = {batch.tokens.to(device_), batch.positions.to(device_), batch.lengths};
  taps_.clear(), layers_.clear(), unseen_.clear();
  embedded_ = embed(there_, batch_);
  at::Tensor stream = embedded_.detach();
  for (int64_t layer = 0; layer < there_.config.n_layers(); ++layer) {
    Part part = through(layer, stream, keeps_ == Keeps::All ? Graph::Recorded : Graph::None);
    keep_taps(layer, part);
    stream = part.out.detach();
    if (keeps_ == Keeps::Streams) part = {part.given, {}};
    if (keeps_ != Keeps::Nothing) layers_.push_back(std::move(part));
  }
  norm_.given = stream.detach().set_requires_grad(keeps_ != Keeps::Nothing);
  norm_.out = final_norm(there_, norm_.given);
  return norm_.out.detach();
}

DevicePass::Part DevicePass::through(int64_t layer, const at::Tensor& stream, Graph graph) {
  const c10::AutoGradMode records(graph == Graph::Recorded);
  const ProductsIn products(precision_, device_.type());
  Part part;
  part.given = stream.detach().set_requires_grad(graph == Graph::Recorded);
  const at::Tensor x = group_input(there_, layer, LinearGroup::QueryKeyValue, batch_, part.given);
  const QueriesKeys compared = queries_keys(there_, layer, batch_, x);
  const at::Tensor mixed_in = head_values(there_, layer, x);
  part.heads = {compared.queries.flatten(1), compared.keys.flatten(1), mixed_in.flatten(1)};
  const at::Tensor mixed = attend(layer, compared.queries, compared.keys, mixed_in);
  const at::Tensor between = add_output(there_, layer, LinearGroup::AttentionOutput, part.given,
                                        group_output(there_, layer, LinearGroup::AttentionOutput, mixed));
  const at::Tensor gated = group_input(there_, layer, LinearGroup::Down, batch_, between);
  part.out =
      add_output(there_, layer, LinearGroup::Down, between, group_output(there_, layer, LinearGroup::Down, gated));
  return part;
}

// query (N, H, D), key and value (N, K, D) -> (N, H * D); each document attends to itself alone.
at::Tensor DevicePass::attend(int64_t layer, const at::Tensor& query, const at::Tensor& key, const at::Tensor& value) {
  const LayerConfig& of = there_.config.layers[static_cast<size_t>(layer)];
  const int64_t window = of.kind == LayerKind::SlidingAttention ? there_.config.sliding_window : 0;
  std::vector<at::Tensor> documents;
  int64_t begin = 0;
  for (const int64_t length : batch_.lengths) {
    documents.push_back(attention_of(query.narrow(0, begin, length), key.narrow(0, begin, length),
                                     value.narrow(0, begin, length), unseen(length, window),
                                     there_.config.score_scale(of)));
    begin += length;
  }
  return at::cat(documents, 0);
}

// Keys behind a query, and those that lie a window or more before it; window 0: none of these. -> (T, T) bool
const at::Tensor& DevicePass::unseen(int64_t length, int64_t window) {
  at::Tensor& mask = unseen_[{length, window}];
  if (mask.defined()) return mask;
  const at::Tensor index = at::arange(length, at::TensorOptions().dtype(at::kLong).device(device_));
  const at::Tensor distance = index.unsqueeze(1) - index.unsqueeze(0);
  mask = distance.lt(0);
  if (window > 0) mask = mask.logical_or(distance.ge(window));
  return mask;
}

void DevicePass::keep_taps(int64_t layer, const Part& part) {
  const auto in_host_memory = [](const at::Tensor& x) { return x.detach().to(at::kCPU, at::kFloat); };
  if (plan_.hidden.contains(layer)) taps_[layer].hidden = in_host_memory(part.out);
  if (plan_.heads.contains(layer))
    taps_[layer].heads = {in_host_memory(part.heads.query), in_host_memory(part.heads.key),
                          in_host_memory(part.heads.value)};
}

void DevicePass::backward(const at::Tensor& by_hidden, NamedTensors& gradients, const LayerTaps& by_taps) {
  assert(keeps_ != Keeps::Nothing);
  const c10::NoGradGuard no_grad;
  at::Tensor by_stream = go_back({{norm_.out, by_hidden}}, norm_.given, {tensor_name(0, Role::OutputNorm)}, gradients);
  for (int64_t layer = there_.config.n_layers() - 1; layer >= 0; --layer) {
    Part part = std::move(layers_.back());  // its graph goes with it
    layers_.pop_back();
    if (keeps_ == Keeps::Streams) part = through(layer, part.given, Graph::Recorded);  // gives the same bits as before
    const auto found = by_taps.find(layer);
    const LayerTap by_tap = found == by_taps.end() ? LayerTap{} : found->second;
    if (by_tap.hidden.defined()) by_stream = by_stream + by_tap.hidden.to(device_);
    std::vector<Asked> asked{{part.out, by_stream}};
    for (const auto head : {&HeadTap::query, &HeadTap::key, &HeadTap::value})
      if ((by_tap.heads.*head).defined()) asked.push_back({part.heads.*head, by_tap.heads.*head});
    by_stream = go_back(asked, part.given, layer_names_[static_cast<size_t>(layer)], gradients);
  }
  const std::string embedding = tensor_name(0, Role::Embedding);
  if (const auto sum = gradients.find(embedding); sum != gradients.end())
    sum->second.add_(torch::autograd::grad({embedded_}, {there_.parameter(embedding)}, {by_stream}).front());
  embedded_.reset(), norm_ = Part();
}

// Adds the gradients by the parameters of these names, as far as there is a place for them. -> that by `given`
at::Tensor DevicePass::go_back(const std::vector<Asked>& asked, const at::Tensor& given,
                               const std::vector<std::string>& names, NamedTensors& gradients) const {
  std::vector<at::Tensor> outputs, by_outputs, inputs, sums;
  for (const Asked& each : asked) {
    outputs.push_back(each.output);
    by_outputs.push_back(each.by_output.to(each.output.options()));
  }
  for (const std::string& name : names)
    if (const auto sum = gradients.find(name); sum != gradients.end()) {
      inputs.push_back(there_.parameter(name));
      sums.push_back(sum->second);
    }
  inputs.push_back(given);
  const std::vector<at::Tensor> found = torch::autograd::grad(outputs, inputs, by_outputs);
  for (size_t i = 0; i < sums.size(); ++i) sums[i].add_(found[i]);
  return found.back();
}

}  // namespace attar
