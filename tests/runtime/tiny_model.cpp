#include "tests/runtime/tiny_model.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "runtime/base/half.h"
#include "runtime/base/random.h"

namespace attar::runtime {
namespace {

using Values = std::vector<double>;

Values decoded(const StoredTensor& tensor) {
  int64_t n = 1;
  for (const int64_t size : tensor.shape) n *= size;
  std::vector<float> values(static_cast<size_t>(n));
  const QuantFormat& format = format_of(tensor.type);
  std::vector<std::byte> buffer;
  format.decode(tensor.bytes.read(buffer).data(), n / format.block_size, values.data());
  return {values.begin(), values.end()};
}

class Reference {
 public:
  explicit Reference(const ModelFile& file)
      : file_(file), config_(file.config()), traits_(traits(file.config().family)) {}

  std::vector<Values> run(const std::vector<int32_t>& tokens) {
    const Values embedding = tensor("token_embd.weight");
    std::vector<Values> rows;
    for (const int32_t token : tokens) {
      Values x(embedding.begin() + token * config_.width, embedding.begin() + (token + 1) * config_.width);
      if (traits_.scaled_embedding)
        for (double& v : x) v *= std::sqrt(static_cast<double>(config_.width));
      rows.push_back(x);
    }
    for (int64_t layer = 0; layer < config_.n_layers(); ++layer) run_layer(layer, rows);
    const Values head = tensor(config_.tied_embeddings ? "token_embd.weight" : "output.weight");
    std::vector<Values> logits;
    for (const Values& x : rows) logits.push_back(times(head, normed(x, norm("output_norm.weight"))));
    return logits;
  }

 private:
  Values tensor(const std::string& name) const { return decoded(file_.tensor(name)); }

  Values norm(const std::string& name) const {
    Values w = tensor(name);
    if (traits_.norm_plus_one && file_.layout() == Layout::HuggingFace)
      for (double& v : w) v += 1.0;
    return w;
  }

  Values normed(Values x, const Values& weight) const {
    double squares = 0.0;
    for (const double v : x) squares += v * v;
    const double inverse = 1.0 / std::sqrt(squares / static_cast<double>(x.size()) + config_.norm_epsilon);
    for (size_t i = 0; i < x.size(); ++i) x[i] *= inverse * weight[i];
    return x;
  }

  static Values times(const Values& weight, const Values& x) {
    Values y(weight.size() / x.size());
    for (size_t row = 0; row < y.size(); ++row)
      for (size_t i = 0; i < x.size(); ++i) y[row] += weight[row * x.size() + i] * x[i];
    return y;
  }

  static void onto(Values& x, const Values& y) {
    for (size_t i = 0; i < x.size(); ++i) x[i] += y[i];
  }

  // One head, as the file pairs it.
  void rotate(double* x, const LayerConfig& sizes, int64_t position) const {
    const double theta = sizes.kind == LayerKind::SlidingAttention ? config_.rope_theta_sliding : config_.rope_theta;
    const bool neighbours = file_.interleaved_rope();
    const int64_t half = sizes.head_dim / 2;
    for (int64_t j = 0; j < half; ++j) {
      const double angle = static_cast<double>(position) *
                           std::pow(theta, -2.0 * static_cast<double>(j) / static_cast<double>(sizes.head_dim));
      double& a = neighbours ? x[2 * j] : x[j];
      double& b = neighbours ? x[2 * j + 1] : x[j + half];
      const double first = a, second = b;
      a = first * std::cos(angle) - second * std::sin(angle);
      b = second * std::cos(angle) + first * std::sin(angle);
    }
  }

  // Projections of one row; heads normed and rotated.
  Values project(const std::string& block, const std::string& which, const Values& x, const LayerConfig& sizes,
                 int64_t position) const {
    Values y = times(tensor(block + "attn_" + which + ".weight"), x);
    if (traits_.qkv_bias) onto(y, tensor(block + "attn_" + which + ".bias"));
    if (which == "v") return y;
    for (size_t at = 0; at < y.size(); at += static_cast<size_t>(sizes.head_dim)) {
      if (traits_.qk_norm) {
        const auto begin = y.begin() + static_cast<int64_t>(at);
        const Values head =
            normed(Values(begin, begin + sizes.head_dim), norm(block + "attn_" + which + "_norm.weight"));
        std::copy(head.begin(), head.end(), begin);
      }
      rotate(y.data() + at, sizes, position);
    }
    return y;
  }

  Values attend(const LayerConfig& sizes, const Values& query, const std::vector<Values>& keys,
                const std::vector<Values>& values, int64_t position) const {
    const int64_t d = sizes.head_dim;
    Values out(query.size());
    for (int64_t h = 0; h < sizes.n_heads; ++h) {
      const int64_t kv = h / (sizes.n_heads / sizes.n_kv_heads);
      Values scores(static_cast<size_t>(position + 1), -INFINITY);
      for (int64_t t = 0; t <= position; ++t) {
        if (sizes.kind == LayerKind::SlidingAttention && position - t >= config_.sliding_window) continue;
        double score = 0.0;
        for (int64_t i = 0; i < d; ++i)
          score +=
              query[static_cast<size_t>(h * d + i)] * keys[static_cast<size_t>(t)][static_cast<size_t>(kv * d + i)];
        scores[static_cast<size_t>(t)] = score * config_.score_scale(sizes);
      }
      const double highest = *std::max_element(scores.begin(), scores.end());
      double sum = 0.0;
      for (double& s : scores) sum += s = std::exp(s - highest);
      for (int64_t t = 0; t <= position; ++t)
        for (int64_t i = 0; i < d; ++i)
          out[static_cast<size_t>(h * d + i)] +=
              scores[static_cast<size_t>(t)] / sum * values[static_cast<size_t>(t)][static_cast<size_t>(kv * d + i)];
    }
    return out;
  }

  double activate(double g) const {
    if (!traits_.gelu) return g / (1.0 + std::exp(-g));
    return 0.5 * g * (1.0 + std::tanh(std::sqrt(2.0 / M_PI) * (g + 0.044715 * g * g * g)));
  }

  void run_layer(int64_t layer, std::vector<Values>& rows) const {
    const LayerConfig& sizes = config_.layers[static_cast<size_t>(layer)];
    const std::string block = "blk." + std::to_string(layer) + ".";
    std::vector<Values> queries, keys, values;
    for (size_t t = 0; t < rows.size(); ++t) {
      const Values h = normed(rows[t], norm(block + "attn_norm.weight"));
      queries.push_back(project(block, "q", h, sizes, static_cast<int64_t>(t)));
      keys.push_back(project(block, "k", h, sizes, static_cast<int64_t>(t)));
      values.push_back(project(block, "v", h, sizes, static_cast<int64_t>(t)));
    }
    const Values output = tensor(block + "attn_output.weight"), gate = tensor(block + "ffn_gate.weight");
    const Values up = tensor(block + "ffn_up.weight"), down = tensor(block + "ffn_down.weight");
    for (size_t t = 0; t < rows.size(); ++t) {
      Values y = times(output, attend(sizes, queries[t], keys, values, static_cast<int64_t>(t)));
      onto(rows[t], traits_.sandwich_norms ? normed(y, norm(block + "post_attention_norm.weight")) : y);
      const Values h = normed(rows[t], norm(block + "ffn_norm.weight"));
      Values g = times(gate, h);
      const Values u = times(up, h);
      for (size_t i = 0; i < g.size(); ++i) g[i] = activate(g[i]) * u[i];
      y = times(down, g);
      onto(rows[t], traits_.sandwich_norms ? normed(y, norm(block + "post_ffw_norm.weight")) : y);
    }
  }

  const ModelFile& file_;
  const ModelConfig& config_;
  const FamilyTraits& traits_;
};

// Where the f16 scales of a block lie, for types whose random bytes could otherwise be infinite; then single bytes that
// are exponents, or f16 in top nibbles (IQ1_M), are handled by random_blocks itself.
std::vector<int64_t> scale_offsets(TensorType type) {
  switch (type) {
    case TensorType::Q4_1:
    case TensorType::Q5_1:
    case TensorType::Q4_K:
    case TensorType::Q5_K:
      return {0, 2};
    case TensorType::Q2_K:
      return {80, 82};
    case TensorType::Q3_K:
      return {108};
    case TensorType::Q6_K:
      return {208};
    case TensorType::TQ1_0:
      return {52};
    case TensorType::TQ2_0:
      return {64};
    case TensorType::MXFP4:
    case TensorType::NVFP4:
    case TensorType::IQ1_M:
    case TensorType::Q8_K:
      return {};
    default:
      return {0};
  }
}

}  // namespace

std::vector<std::byte> random_blocks(TensorType type, int64_t n_values, uint64_t seed) {
  const QuantFormat& format = format_of(type);
  const CounterRandom random(seed);
  const int64_t n_blocks = n_values / format.block_size;
  std::vector<std::byte> bytes(static_cast<size_t>(n_blocks * format.block_bytes));
  if (format.block_size == 1) {
    for (int64_t i = 0; i < n_values; ++i) {
      const auto value = static_cast<float>((random.uniform(static_cast<uint64_t>(i)) - 0.5) * 0.4);
      const uint16_t half = type == TensorType::F16 ? f32_to_f16(value) : f32_to_bf16(value);
      if (type == TensorType::F32)
        std::memcpy(bytes.data() + 4 * i, &value, 4);
      else
        std::memcpy(bytes.data() + 2 * i, &half, 2);
    }
    return bytes;
  }
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::byte>(random.bits(i) & 255);
  std::vector<float> values(static_cast<size_t>(format.block_size));
  for (int64_t b = 0; b < n_blocks; ++b) {
    std::byte* block = bytes.data() + b * format.block_bytes;
    for (const int64_t offset : scale_offsets(type)) {
      const uint16_t one = f32_to_f16(1.0f);
      std::memcpy(block + offset, &one, 2);
    }
    const float eight_k = 0.0015f;
    if (type == TensorType::Q8_K) std::memcpy(block, &eight_k, 4);
    if (type == TensorType::MXFP4) block[0] = std::byte{122};
    if (type == TensorType::NVFP4)
      for (int i = 0; i < 4; ++i) block[i] = static_cast<std::byte>(0x10 + i);
    if (type == TensorType::IQ1_M)  // f16 0x2400, lowest nibble first, in the top nibbles of four 16-bit words at 48
      for (int i = 0; i < 4; ++i)
        block[49 + 2 * i] = (block[49 + 2 * i] & std::byte{15}) | static_cast<std::byte>((0x2400 >> (4 * i) & 15) << 4);
    if (scale_offsets(type).empty()) continue;
    // Bring the largest weight to about 0.2.
    format.decode(block, 1, values.data());
    float largest = 1e-6f;
    for (const float v : values) largest = std::max(largest, std::fabs(v));
    for (const int64_t offset : scale_offsets(type)) {
      const uint16_t half =
          f32_to_f16((0.1f + 0.1f * static_cast<float>(random.uniform(1u << 30 | static_cast<uint64_t>(b)))) / largest);
      std::memcpy(block + offset, &half, 2);
    }
  }
  return bytes;
}

ModelConfig tiny_config(const TinyOptions& options) {
  const int64_t block =
      std::max(format_of(options.matrix_type).block_size, format_of(options.embedding_type).block_size);
  ModelConfig config;
  config.family = options.family;
  config.vocab_size = 32;
  config.width = block == 1 ? 44 : std::max<int64_t>(64, block);
  config.context_length = 2048;
  config.tied_embeddings = options.tied;
  config.norm_epsilon = 1e-5;
  config.rope_theta = 1000.0;
  config.rope_theta_sliding = 100.0;
  const int64_t head_dim = block == 1 ? 12 : block == 256 ? 64 : 16;
  for (int i = 0; i < 3; ++i) {
    LayerConfig layer;
    layer.head_dim = head_dim;
    layer.n_heads = block == 1 ? (i == 1 ? 2 : 4) : block / head_dim * (i == 1 ? 1 : 2);
    layer.n_kv_heads = i == 1 ? layer.n_heads : layer.n_heads / 2;
    layer.ffn_width = block == 1 ? (i == 1 ? 20 : 52) : block * (i == 1 ? 1 : 2);
    if (options.family == Family::Gemma3 && i != 2) layer.kind = LayerKind::SlidingAttention;
    config.layers.push_back(layer);
  }
  if (options.family == Family::Gemma3) {
    config.sliding_window = 7;
    config.attention_scale = 0.3;
  }
  return config;
}

ModelFile tiny_model(const ModelConfig& config, const TinyOptions& options) {
  ModelFile::Parts parts;
  parts.config = config;
  parts.layout = options.layout;
  parts.source = "tiny";
  for (int64_t i = 0; i < config.vocab_size; ++i) parts.tokenizer.tokens.push_back({.text = "t" + std::to_string(i)});
  auto memory = std::make_shared<std::map<std::string, std::vector<std::byte>>>();
  uint64_t seed = options.seed * 1000;
  for (const TensorSpec& spec : tensor_specs(config)) {
    TensorType type = TensorType::F32;
    if (spec.role == Role::Embedding || spec.role == Role::Output)
      type = options.embedding_type;
    else if (spec.is_matrix())
      type = options.matrix_type;
    std::vector<std::byte>& bytes = (*memory)[spec.name];
    bytes = random_blocks(type, spec.elements(), ++seed);
    if (is_norm(spec.role) && !(traits(config.family).norm_plus_one && options.layout == Layout::HuggingFace))
      for (size_t i = 0; i < bytes.size(); i += 4) {
        float value;
        std::memcpy(&value, bytes.data() + i, 4);
        value += 1.0f;
        std::memcpy(bytes.data() + i, &value, 4);
      }
    parts.tensors[spec.name] = {type, spec.shape, bytes};
    parts.size_bytes += bytes.size();
  }
  parts.owner = memory;
  return ModelFile(std::move(parts));
}

std::vector<std::vector<double>> forward_reference(const ModelFile& file, const std::vector<int32_t>& tokens) {
  return Reference(file).run(tokens);
}

}  // namespace attar::runtime
