#include "runtime/model/model.h"

#include <algorithm>
#include <cmath>
#include <future>
#include <utility>

#include "runtime/base/error.h"
#include "runtime/base/host/float_environment.h"
#include "runtime/base/host/worker_thread.h"
#include "runtime/model/weights.h"

namespace attar::runtime {
namespace {

// Row r of the packed q or k matrix, which pairs (j, j + D/2), in a file that pairs neighbours. -> (heads * D)
std::vector<int64_t> rows_in_halves(int64_t n_heads, int64_t head_dim) {
  std::vector<int64_t> source(static_cast<size_t>(n_heads * head_dim));
  for (int64_t h = 0; h < n_heads; ++h)
    for (int64_t j = 0; j < head_dim; ++j) {
      const int64_t half = head_dim / 2;
      source[static_cast<size_t>(h * head_dim + j)] = h * head_dim + (j < half ? 2 * j : 2 * (j - half) + 1);
    }
  return source;
}

class Loader {
 public:
  Loader(const ModelFile& file, Model::Weights& weights, ThreadPool& threads)
      : file_(file), weights_(weights), threads_(threads), traits_(traits(file.config().family)) {}

  void load() {
    const ModelConfig& config = file_.config();
    weights_.layers.resize(config.layers.size());
    weights_.embedding_scale = traits_.scaled_embedding ? std::sqrt(static_cast<float>(config.width)) : 1.0f;
    for (size_t i = 0; i < config.layers.size(); ++i) {
      LayerWeights& layer = weights_.layers[i];
      layer.rope = rope_index(rope_frequencies(config, config.layers[i]));
      layer.window = config.layers[i].kind == LayerKind::SlidingAttention ? config.sliding_window : 0;
    }
    weights_.notes = file_.notes();
    if (weights_.numerics == Numerics::Deployed && weights_.kv == KvFormat::Int8) set_key_scales();
    reserve();
    for (const TensorSpec& spec : tensor_specs(config)) load(spec);
    std::vector<Matrix> packed = pack_all(stored_, threads_);
    for (size_t i = 0; i < packed.size(); ++i) *targets_[i] = std::move(packed[i]);
    if (!fallbacks_.empty())
      for (const std::string& type : fallbacks_)
        weights_.notes.push_back(type + " weights run on their decoded f32 values: no integer kernel for this type");
  }

 private:
  void set_key_scales() {
    const ModelConfig& config = file_.config();
    auto scale = config.key_scales.begin();
    for (size_t i = 0; i < config.layers.size() && scale != config.key_scales.end(); ++i) {
      LayerWeights& layer = weights_.layers[i];
      const auto end = scale + config.layers[i].n_kv_heads * config.layers[i].head_dim;
      layer.query_scales.assign(scale, end);
      for (; scale != end; ++scale) layer.key_scales.push_back(1.0f / *scale);
    }
  }

  void load(const TensorSpec& spec) {
    const ModelConfig& config = file_.config();
    if (spec.role == Role::Embedding) {
      add(config.tied_embeddings ? weights_.head : weights_.embedding, spec, {});
      return;
    }
    if (spec.role == Role::OutputNorm) {
      weights_.output_norm = vector(spec, {});
      return;
    }
    if (spec.role == Role::Output) {
      add(weights_.head, spec, {});
      return;
    }
    const LayerConfig& sizes = config.layers[static_cast<size_t>(spec.layer)];
    LayerWeights& layer = weights_.layers[static_cast<size_t>(spec.layer)];
    std::vector<int64_t> rows;
    if (file_.interleaved_rope() && (spec.role == Role::Query || spec.role == Role::QueryBias))
      rows = rows_in_halves(sizes.n_heads, sizes.head_dim);
    if (file_.interleaved_rope() && (spec.role == Role::Key || spec.role == Role::KeyBias))
      rows = rows_in_halves(sizes.n_kv_heads, sizes.head_dim);
    if (Matrix* target = matrix_of(layer, spec.role))
      add(*target, spec, std::move(rows));
    else if (std::vector<float>* values = vector_of(layer, spec.role))
      *values = vector(spec, rows);
  }

  static Matrix* matrix_of(LayerWeights& layer, Role role) {
    switch (role) {
      case Role::Query:
        return &layer.query;
      case Role::Key:
        return &layer.key;
      case Role::Value:
        return &layer.value;
      case Role::AttentionOutput:
        return &layer.output;
      case Role::Gate:
        return &layer.gate;
      case Role::Up:
        return &layer.up;
      case Role::Down:
        return &layer.down;
      default:
        return nullptr;
    }
  }

  static std::vector<float>* vector_of(LayerWeights& layer, Role role) {
    switch (role) {
      case Role::AttentionNorm:
        return &layer.attention_norm;
      case Role::FfnNorm:
        return &layer.ffn_norm;
      case Role::PostAttentionNorm:
        return &layer.post_attention_norm;
      case Role::PostFfnNorm:
        return &layer.post_ffn_norm;
      case Role::QueryNorm:
        return &layer.query_norm;
      case Role::KeyNorm:
        return &layer.key_norm;
      case Role::QueryBias:
        return &layer.query_bias;
      case Role::KeyBias:
        return &layer.key_bias;
      case Role::ValueBias:
        return &layer.value_bias;
      default:
        return nullptr;
    }
  }

  // One that is looked up and never multiplied with is exact in any tile.
  Numerics numerics_of(const TensorSpec& spec) const {
    const bool looked_up = spec.role == Role::Embedding && !file_.config().tied_embeddings;
    return looked_up ? Numerics::Deployed : weights_.numerics;
  }

  uint64_t bytes_of(const TensorSpec& spec) const {
    const StoredTensor& tensor = file_.tensor(spec.name);
    return static_cast<uint64_t>(packed_bytes(tensor.type, tensor.shape[0], tensor.shape[1], numerics_of(spec)));
  }

  void reserve() {
    uint64_t bytes = 0;
    for (const TensorSpec& spec : tensor_specs(file_.config()))
      if (spec.shape.size() == 2) bytes += bytes_of(spec);
    weights_.memory = AlignedBuffer(bytes);
  }

  // A matrix to be packed with all others.
  void add(Matrix& target, const TensorSpec& spec, std::vector<int64_t> rows) {
    const StoredTensor& tensor = file_.tensor(spec.name);
    bool decoded = false;
    tile_format_for(tensor.type, numerics_of(spec), &decoded);
    const std::string type = format_of(tensor.type).name;
    if (decoded && std::find(fallbacks_.begin(), fallbacks_.end(), type) == fallbacks_.end())
      fallbacks_.push_back(type);
    uint8_t* place = weights_.memory.as<uint8_t>() + weights_.packed_bytes;
    weights_.packed_bytes += bytes_of(spec);
    stored_.push_back({&tensor, spec.name, numerics_of(spec), std::move(rows), place});
    targets_.push_back(&target);
  }

  // A norm or bias: one row of values; norms become the factor that is multiplied with.
  std::vector<float> vector(const TensorSpec& spec, const std::vector<int64_t>& rows) {
    const StoredTensor& tensor = file_.tensor(spec.name);
    const QuantFormat& format = format_of(tensor.type);
    std::vector<float> values(static_cast<size_t>(tensor.shape.back()));
    std::vector<std::byte> buffer;
    format.decode(tensor.bytes.read(buffer).data(), tensor.shape.back() / format.block_size, values.data());
    for (const float value : values)
      if (!std::isfinite(value))
        throw input_error(spec.name, "a weight is not a finite number", "finite values", "NaN or infinity",
                          "the file is damaged or its training diverged");
    if (is_norm(spec.role) && traits_.norm_plus_one && file_.layout() == Layout::HuggingFace)
      for (float& value : values) value += 1.0f;
    if (rows.empty()) return values;
    std::vector<float> ordered(values.size());
    for (size_t i = 0; i < rows.size(); ++i) ordered[i] = values[static_cast<size_t>(rows[i])];
    return ordered;
  }

  size_t rope_index(const std::vector<double>& frequencies) {
    const std::vector<float> rounded(frequencies.begin(), frequencies.end());  // as Hugging Face keeps them
    auto& ropes = weights_.ropes;
    const auto found = std::find(ropes.begin(), ropes.end(), rounded);
    if (found != ropes.end()) return static_cast<size_t>(found - ropes.begin());
    ropes.push_back(rounded);
    return ropes.size() - 1;
  }

  const ModelFile& file_;
  Model::Weights& weights_;
  ThreadPool& threads_;
  const FamilyTraits& traits_;
  std::vector<StoredMatrix> stored_;
  std::vector<Matrix*> targets_;  // of stored_
  std::vector<std::string> fallbacks_;
};

}  // namespace

Model::Model() = default;
Model::Model(Model&&) noexcept = default;
Model::~Model() = default;

Model Model::load(const ModelFile& file, const LoadOptions& options, ThreadPool& threads) {
  const FloatEnvironment floats;
  Model model;
  model.weights_ = std::make_unique<Weights>(file, options);
  // The tables of the tokenizer are made while matrices are packed: neither waits for the other.
  std::future<std::unique_ptr<const Tokenizer>> tokenizer;
  {
    const HostSignalsBlocked blocked;
    tokenizer = std::async(kHasThreads ? std::launch::async | std::launch::deferred : std::launch::deferred,
                           [&] { return std::make_unique<const Tokenizer>(file.shared_tokenizer(), file.source()); });
  }
  Loader(file, *model.weights_, threads).load();
  model.weights_->tokenizer = tokenizer.get();
  return model;
}

const ModelConfig& Model::config() const {
  return weights_->config;
}
const Tokenizer& Model::tokenizer() const {
  return *weights_->tokenizer;
}
Numerics Model::numerics() const {
  return weights_->numerics;
}
KvFormat Model::kv_format() const {
  return weights_->kv;
}
const std::string& Model::source() const {
  return weights_->source;
}
uint64_t Model::file_bytes() const {
  return weights_->file_bytes;
}
const std::vector<std::string>& Model::notes() const {
  return weights_->notes;
}
uint64_t Model::packed_bytes() const {
  return weights_->packed_bytes;
}

}  // namespace attar::runtime
