#include "runtime/model/identity.h"

#include <cstring>
#include <span>

#include "runtime/base/sha256.h"
#include "runtime/model/weights.h"

namespace attar::runtime {
namespace {

constexpr int kFirstVersion = 1;  // of how keys and values are computed: another one, and old files are refused

using Bytes = std::span<const std::byte>;

template <class T>
Bytes bytes_of(const std::vector<T>& values) {
  return std::as_bytes(std::span(values));
}
Bytes bytes_of(const Matrix& m) {
  return {reinterpret_cast<const std::byte*>(m.tiles.data), static_cast<size_t>(m.tiles.n_tiles * m.tiles.tile_bytes)};
}

// All that a pass reads of a layer.
std::vector<Bytes> parts_of(const LayerWeights& w) {
  std::vector<Bytes> parts;
  for (const Matrix* m : {&w.query, &w.key, &w.value, &w.output, &w.gate, &w.up, &w.down})
    parts.push_back(bytes_of(*m));
  for (const std::vector<float>* v : {&w.attention_norm, &w.ffn_norm, &w.post_attention_norm, &w.post_ffn_norm,
                                      &w.query_norm, &w.key_norm, &w.query_bias, &w.key_bias, &w.value_bias})
    parts.push_back(bytes_of(*v));
  if (!w.key_scales.empty()) parts.push_back(bytes_of(w.key_scales));  // the queries' are 1 over them
  return parts;
}

void add_number(std::string& text, double value) {
  char bytes[sizeof value];
  std::memcpy(bytes, &value, sizeof value);
  text.append(bytes, sizeof bytes);
}

// How results are rounded. NEON's kernels and WebAssembly's give AVX2's bits, but cosines come from the C library of
// the architecture.
int64_t rounding_of(const Kernels& kernels) {
#if defined(__aarch64__)
  constexpr int64_t kArchitecture = 2;
#elif defined(__wasm__)
  constexpr int64_t kArchitecture = 4;
#else
  constexpr int64_t kArchitecture = 0;
#endif
  return kArchitecture + int64_t{kernels.isa == Isa::Scalar};
}

// What is not among the weights.
std::string sizes_of(const Model& model) {
  const ModelConfig& c = model.config();
  const Model::Weights& w = model.weights();
  std::string text = "attar kv " + std::to_string(kFirstVersion);
  const KvFormat kv = model.numerics() == Numerics::Deployed ? model.kv_format() : KvFormat::F16;
  for (const int64_t n : {static_cast<int64_t>(c.family), c.vocab_size, c.width, c.n_layers(), c.sliding_window,
                          int64_t{c.tied_embeddings}, static_cast<int64_t>(model.numerics()), static_cast<int64_t>(kv),
                          rounding_of(*w.kernels)})
    text += ' ' + std::to_string(n);
  for (const LayerConfig& layer : c.layers) {
    for (const int64_t n :
         {static_cast<int64_t>(layer.kind), layer.n_heads, layer.n_kv_heads, layer.head_dim, layer.ffn_width})
      text += ' ' + std::to_string(n);
    add_number(text, c.score_scale(layer));
  }
  add_number(text, c.norm_epsilon);
  add_number(text, static_cast<double>(w.embedding_scale));
  for (const LayerWeights& layer : w.layers) {
    text += ' ' + std::to_string(layer.rope) + ' ' + std::to_string(layer.window);
    for (const Matrix* m : {&layer.query, &layer.key, &layer.value, &layer.output, &layer.gate, &layer.up, &layer.down})
      text += ' ' + std::to_string(static_cast<int>(m->tiles.format));
  }
  return text;
}

}  // namespace

const std::string& identity_of(const Model& model, ThreadPool& threads) {
  const Model::Weights& w = model.weights();
  const std::lock_guard lock(w.identifying);
  if (!w.identity.empty()) return w.identity;
  std::vector<Bytes> parts;
  for (const LayerWeights& layer : w.layers)
    for (const Bytes part : parts_of(layer)) parts.push_back(part);
  for (const Bytes part : {bytes_of(w.embedding), bytes_of(w.output_norm), bytes_of(w.head)}) parts.push_back(part);
  for (const std::vector<float>& frequencies : w.ropes) parts.push_back(bytes_of(frequencies));
  std::vector<std::string> digests(parts.size());
  threads.run([&](int thread) {
    for (size_t i = static_cast<size_t>(thread); i < parts.size(); i += static_cast<size_t>(threads.size()))
      digests[i] = Sha256().add(parts[i]).hex();
  });
  Sha256 all;
  all.add(sizes_of(model));
  for (const std::string& digest : digests) all.add(digest);
  w.identity = all.hex();
  return w.identity;
}

}  // namespace attar::runtime
