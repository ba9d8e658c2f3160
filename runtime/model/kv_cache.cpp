#include "runtime/model/kv_cache.h"

#include <algorithm>
#include <cstring>

#include "runtime/model/weights.h"

namespace attar::runtime {
namespace {
constexpr int64_t kScaleBytes = sizeof(float);  // of a head and position

int64_t chunks_of(int64_t length_tokens) {
  return (length_tokens + kChunkTokens - 1) / kChunkTokens;
}
}  // namespace

bool mix_head(float* x, int64_t n) {
  if ((n & (n - 1)) != 0) return false;
  for (int64_t half = 1; half < n; half *= 2)
    for (int64_t i = 0; i < n; i += 2 * half)
      for (int64_t j = i; j < i + half; ++j) {
        const float a = x[j], b = x[j + half];
        x[j] = a + b, x[j + half] = a - b;
      }
  return true;
}

KvLayout::KvLayout(const Model& model) : model_id(model.weights().id) {
  if (model.numerics() == Numerics::Deployed) {
    format = model.kv_format() == KvFormat::Int8 ? TileFormat::I8 : TileFormat::F16;
    element_bytes = coded() ? 1 : 2;
  }
  for (const LayerConfig& config : model.config().layers) {
    Layer layer{};
    layer.head_dim = config.head_dim;
    layer.dim_tiles = (config.head_dim + kTileRows - 1) / kTileRows;
    const int64_t key_dims = coded() ? (config.head_dim + 3) / 4 * 4 : config.head_dim;
    const int64_t scale_bytes = coded() ? kScaleBytes : 0;
    layer.key_bytes = kChunkTokens * (key_dims * element_bytes + scale_bytes);
    layer.value_bytes = kChunkTokens * (layer.dim_tiles * kTileRows * element_bytes + scale_bytes);
    layer.key_offset = chunk_bytes;
    layer.value_offset = chunk_bytes + config.n_kv_heads * layer.key_bytes;
    chunk_bytes = layer.value_offset + config.n_kv_heads * layer.value_bytes;
    layers.push_back(layer);
  }
}

void KvCache::Storage::reserve(int64_t length) {
  while (static_cast<int64_t>(chunks.size()) * kChunkTokens < length)
    chunks.emplace_back(static_cast<size_t>(layout.chunk_bytes));
}

PlainTiles KvCache::Storage::keys(int64_t layer, int64_t head, int64_t chunk) const {
  const KvLayout::Layer& l = layout.layers[static_cast<size_t>(layer)];
  return {.data = chunks[static_cast<size_t>(chunk)].data() + l.key_offset + head * l.key_bytes,
          .tile_bytes = l.head_dim * kTileRows * layout.element_bytes,
          .n_tiles = kChunkTokens / kTileRows,
          .depth = l.head_dim,
          .format = layout.format};
}

PlainTiles KvCache::Storage::values(int64_t layer, int64_t head, int64_t chunk) const {
  const KvLayout::Layer& l = layout.layers[static_cast<size_t>(layer)];
  return {.data = chunks[static_cast<size_t>(chunk)].data() + l.value_offset + head * l.value_bytes,
          .tile_bytes = kChunkTokens * kTileRows * layout.element_bytes,
          .n_tiles = l.dim_tiles,
          .depth = kChunkTokens,
          .format = layout.format};
}

const float* KvCache::Storage::value_scales(int64_t layer, int64_t head, int64_t chunk) const {
  const KvLayout::Layer& l = layout.layers[static_cast<size_t>(layer)];
  const int64_t end = l.value_offset + (head + 1) * l.value_bytes;
  return chunks[static_cast<size_t>(chunk)].as<float>() + end / kScaleBytes - kChunkTokens;
}

CodedKeys KvCache::Storage::coded_keys(int64_t layer, int64_t head, int64_t chunk) const {
  const KvLayout::Layer& l = layout.layers[static_cast<size_t>(layer)];
  const int64_t begin = l.key_offset + head * l.key_bytes;
  const AlignedBuffer& memory = chunks[static_cast<size_t>(chunk)];
  return {.codes = memory.as<int8_t>() + begin,
          .scales = memory.as<float>() + (begin + l.key_bytes) / kScaleBytes - kChunkTokens,
          .n_tiles = kChunkTokens / kTileRows,
          .n_quads = (l.head_dim + 3) / 4};
}

namespace {

template <class T>
void scatter(T* keys, T* values, int64_t head_dim, int64_t position, const T* key, const T* value) {
  T* tile = keys + position / kTileRows * head_dim * kTileRows + position % kTileRows;
  for (int64_t d = 0; d < head_dim; ++d) tile[d * kTileRows] = key[d];
  for (int64_t d = 0; d < head_dim; d += kTileRows)
    std::memcpy(values + d * kChunkTokens + position * kTileRows, value + d,
                sizeof(T) * static_cast<size_t>(std::min(kTileRows, head_dim - d)));
}

// One position's key and value as int8, with their scales at the end of the head's bytes.
void write_codes(const Kernels& kernels, const KvLayout::Layer& l, std::byte* keys, std::byte* values, int64_t position,
                 const float* key, const float* value, uint16_t* memory) {
  auto* mixed = reinterpret_cast<float*>(memory);
  auto* scratch = reinterpret_cast<int8_t*>(mixed + l.dim_tiles * kTileRows);
  const auto set_scale = [&](std::byte* head, int64_t head_bytes, float scale) {
    std::memcpy(head + head_bytes + (position - kChunkTokens) * kScaleBytes, &scale, kScaleBytes);
  };
  HeadInfo info;
  std::copy_n(key, l.head_dim, mixed);
  mix_head(mixed, l.head_dim);
  kernels.quantize_head(mixed, l.head_dim, scratch, &info);
  const int64_t quads = (l.head_dim + 3) / 4;
  std::byte* tile = keys + (position / kTileRows * quads * kTileRows + position % kTileRows) * 4;
  for (int64_t quad = 0; quad < quads; ++quad) std::memcpy(tile + quad * kTileRows * 4, scratch + quad * 4, 4);
  set_scale(keys, l.key_bytes, info.scale);
  std::copy_n(value, l.head_dim, mixed);
  mix_head(mixed, l.head_dim);
  kernels.quantize_head(mixed, l.head_dim, scratch, &info);
  for (int64_t t = 0; t < l.dim_tiles; ++t)
    std::memcpy(values + (t * kChunkTokens + position) * kTileRows, scratch + t * kTileRows, kTileRows);
  set_scale(values, l.value_bytes, info.scale / kCodeUnit);
}

}  // namespace

void KvCache::Storage::write(const Kernels& kernels, int64_t layer, int64_t head, int64_t position, const float* key,
                             const float* value, uint16_t* scratch) {
  const KvLayout::Layer& l = layout.layers[static_cast<size_t>(layer)];
  std::byte* chunk = chunks[static_cast<size_t>(position / kChunkTokens)].data();
  std::byte* keys = chunk + l.key_offset + head * l.key_bytes;
  std::byte* values = chunk + l.value_offset + head * l.value_bytes;
  const int64_t within = position % kChunkTokens;
  if (layout.format == TileFormat::F32) {
    scatter(reinterpret_cast<float*>(keys), reinterpret_cast<float*>(values), l.head_dim, within, key, value);
    return;
  }
  if (layout.coded()) {
    write_codes(kernels, l, keys, values, within, key, value, scratch);
    return;
  }
  kernels.to_f16(key, l.head_dim, scratch);
  kernels.to_f16(value, l.head_dim, scratch + l.head_dim);
  scatter(reinterpret_cast<uint16_t*>(keys), reinterpret_cast<uint16_t*>(values), l.head_dim, within,
          static_cast<const uint16_t*>(scratch), static_cast<const uint16_t*>(scratch + l.head_dim));
}

KvCache::KvCache(const Model& model) : storage_(std::make_unique<Storage>(model)) {}
KvCache::KvCache(KvCache&&) noexcept = default;
KvCache& KvCache::operator=(KvCache&&) noexcept = default;
KvCache::~KvCache() = default;

KvCache::KvCache(const KvCache& other) : KvCache(other, other.storage_->length_tokens) {}

KvCache::KvCache(const KvCache& other, int64_t length_tokens) : storage_(nullptr) {
  const Storage& from = *other.storage_;
  storage_ = std::unique_ptr<Storage>(new Storage(from.layout));
  storage_->length_tokens = std::clamp<int64_t>(length_tokens, 0, from.length_tokens);
  storage_->reserve(storage_->length_tokens);
  for (int64_t i = 0; i < chunks_of(storage_->length_tokens); ++i)
    std::memcpy(storage_->chunks[static_cast<size_t>(i)].data(), from.chunks[static_cast<size_t>(i)].data(),
                static_cast<size_t>(from.layout.chunk_bytes));
}

uint64_t kv_bytes(const Model& model, int64_t length_tokens) {
  return static_cast<uint64_t>(chunks_of(length_tokens) * KvLayout(model).chunk_bytes);
}

bool KvCache::belongs_to(const Model& model) const {
  return storage_ != nullptr && storage_->layout.model_id == model.weights().id;
}

int64_t KvCache::length_tokens() const {
  return storage_ ? storage_->length_tokens : 0;
}

void KvCache::truncate(int64_t length_tokens) {
  if (storage_) storage_->length_tokens = std::clamp<int64_t>(length_tokens, 0, storage_->length_tokens);
}

uint64_t KvCache::size_bytes() const {
  return storage_->chunks.size() * static_cast<uint64_t>(storage_->layout.chunk_bytes);
}

}  // namespace attar::runtime
