#include "compress/weight_source.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/bucketize.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/tensor.h>

#include <algorithm>
#include <cassert>

#include "compress/shards.h"
#include "runtime/base/sha256.h"
#include "runtime/formats/finite.h"

namespace attar {
namespace {

constexpr int64_t kPartValues = int64_t{1} << 20;  // that a thread reads at once

struct Parts {
  int64_t columns, rows, part_rows;
  explicit Parts(const TensorSpec& spec)
      : columns(spec.shape.back()),
        rows(spec.elements() / columns),
        part_rows(std::max<int64_t>(1, kPartValues / columns)) {}
  int64_t count() const { return (rows + part_rows - 1) / part_rows; }
  int64_t first(int64_t part) const { return part * part_rows; }
  size_t values(int64_t part) const { return static_cast<size_t>(std::min(part_rows, rows - first(part)) * columns); }
};

}  // namespace

const ModelConfig& WeightSource::config() const {
  const auto* const* model = std::get_if<const CausalLM*>(&from_);
  return model != nullptr ? (*model)->config : std::get<ModelFile>(from_).config();
}

at::Tensor WeightSource::tensor(const TensorSpec& spec, int threads) const {
  if (const auto* const* model = std::get_if<const CausalLM*>(&from_)) return (*model)->parameter(spec.name).detach();
  at::Tensor values = at::empty(spec.shape, at::kFloat);
  auto* data = values.mutable_data_ptr<float>();
  const Parts parts(spec);
  run_shards(parts.count(), threads, [&](int64_t part) {
    read_rows(spec, parts.first(part), {data + parts.first(part) * parts.columns, parts.values(part)});
  });
  return values;
}

void WeightSource::read_rows(const TensorSpec& spec, int64_t first, std::span<float> into) const {
  if (const auto* const* model = std::get_if<const CausalLM*>(&from_)) {
    const at::Tensor values = (*model)->parameter(spec.name).detach().contiguous();
    const auto* rows = values.const_data_ptr<float>() + first * spec.shape.back();
    std::copy(rows, rows + into.size(), into.begin());
  } else {
    std::get<ModelFile>(from_).read_rows(spec, first, into);
  }
}

at::Tensor WeightSource::rows(const TensorSpec& spec, const std::vector<int64_t>& ids) const {
  const int64_t columns = spec.shape.back();
  at::Tensor values = at::empty({static_cast<int64_t>(ids.size()), columns}, at::kFloat);
  auto* row = values.mutable_data_ptr<float>();
  for (const int64_t id : ids) {
    read_rows(spec, id, {row, static_cast<size_t>(columns)});
    row += columns;
  }
  return values;
}

void WeightSource::require_finite(int threads) const {
  if (!std::holds_alternative<ModelFile>(from_)) return;
  for (const TensorSpec& spec : tensor_specs(config())) {
    const Parts parts(spec);
    std::vector<uint8_t> bad(static_cast<size_t>(parts.count()), 0);
    const auto values_of = [&](int64_t part) {
      std::vector<float> values(parts.values(part));
      read_rows(spec, parts.first(part), values);
      return values;
    };
    run_shards(parts.count(), threads, [&](int64_t part) {
      bad[static_cast<size_t>(part)] = static_cast<uint8_t>(!all_finite(values_of(part)));
    });
    const auto first = std::find(bad.begin(), bad.end(), uint8_t{1}) - bad.begin();
    if (first < parts.count()) attar::require_finite(spec.name, values_of(first), parts.first(first) * parts.columns);
  }
}

std::string WeightSource::content_hash() const {
  const auto* const* model = std::get_if<const CausalLM*>(&from_);
  if (model == nullptr) return std::get<ModelFile>(from_).content_hash();
  Sha256 hash;
  hash.add(config_text(config()));
  for (const TensorSpec& spec : tensor_specs(config())) {
    const at::Tensor values = (*model)->parameter(spec.name).detach().contiguous();
    hash.add(spec.name + ";" + std::to_string(values.numel()) + ";");
    hash.add(std::span(static_cast<const std::byte*>(values.const_data_ptr()), values.nbytes()));
  }
  return hash.hex();
}

void load_layer(CausalLM& model, const WeightSource& weights, int64_t layer, int threads) {
  for (const TensorSpec& spec : tensor_specs(model.config))
    if (spec.layer == layer) model.parameters[spec.name] = weights.tensor(spec, threads);
}

void forget_layer(CausalLM& model, int64_t layer) {
  for (const TensorSpec& spec : tensor_specs(model.config))
    if (spec.layer == layer) model.parameters.erase(spec.name);
}

TensorSpec spec_of(const ModelConfig& config, Role role) {
  for (TensorSpec& spec : tensor_specs(config))
    if (spec.role == role) return std::move(spec);
  assert(false);
  return {};
}

void load_tensor(CausalLM& model, const WeightSource& weights, Role role, int threads) {
  const TensorSpec spec = spec_of(model.config, role);
  model.parameters[spec.name] = weights.tensor(spec, threads);
}

Role head_role(const ModelConfig& config) {
  return config.tied_embeddings ? Role::Embedding : Role::Output;
}

OwnVocabulary own_vocabulary(const std::vector<TokenBatch>& batches) {
  OwnVocabulary own{{}, batches};
  for (const TokenBatch& batch : batches) {
    const auto* tokens = batch.tokens.const_data_ptr<int64_t>();
    own.ids.insert(own.ids.end(), tokens, tokens + batch.tokens.numel());
  }
  std::sort(own.ids.begin(), own.ids.end());
  own.ids.erase(std::unique(own.ids.begin(), own.ids.end()), own.ids.end());
  const at::Tensor ids = at::tensor(own.ids, at::kLong);
  for (TokenBatch& batch : own.batches) batch.tokens = at::bucketize(batch.tokens, ids);
  return own;
}

}  // namespace attar
