#include "runtime/model/kv_bytes.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "runtime/model/kv_cache.h"

namespace attar::runtime {
namespace {

// Bytes of one position beside those of 15 others, in a key tile.
int64_t lane_bytes(const KvLayout& layout) {
  return layout.coded() ? 4 : layout.element_bytes;
}

// Visits what a chunk of `n` positions holds: keys(begin, bytes) of whole tiles, of which the last may be used in part;
// rest(begin, bytes) of values and scales. Places are bytes into the chunk.
template <class Keys, class Rest>
void visit_chunk(const KvLayout& layout, const ModelConfig& config, int64_t n, const Keys& keys, const Rest& rest) {
  const int64_t tiles = (n + kTileRows - 1) / kTileRows, scales = layout.coded() ? kChunkTokens * 4 : 0;
  for (size_t i = 0; i < layout.layers.size(); ++i) {
    const KvLayout::Layer& l = layout.layers[i];
    for (int64_t head = 0; head < config.layers[i].n_kv_heads; ++head) {
      const int64_t key = l.key_offset + head * l.key_bytes, value = l.value_offset + head * l.value_bytes;
      keys(key, tiles * (l.key_bytes - scales) / (kChunkTokens / kTileRows));
      if (scales > 0) rest(key + l.key_bytes - scales, n * 4);
      const int64_t dims = (l.value_bytes - scales) / std::max<int64_t>(1, l.dim_tiles);  // of 256 positions
      for (int64_t t = 0; t < l.dim_tiles; ++t) rest(value + t * dims, n * (dims / kChunkTokens));
      if (scales > 0) rest(value + l.value_bytes - scales, n * 4);
    }
  }
}

int64_t held_in(int64_t chunk, int64_t length_tokens) {
  return std::min(kChunkTokens, length_tokens - chunk * kChunkTokens);
}

int64_t chunks_of(int64_t length_tokens) {
  return (length_tokens + kChunkTokens - 1) / kChunkTokens;
}

}  // namespace

uint64_t kv_file_bytes(const Model& model, int64_t length_tokens) {
  const KvLayout layout(model);
  uint64_t bytes = 0;
  const auto count = [&](int64_t, int64_t n) { bytes += static_cast<uint64_t>(n); };
  const int64_t chunks = chunks_of(length_tokens);
  if (chunks > 0) visit_chunk(layout, model.config(), held_in(chunks - 1, length_tokens), count, count);
  const uint64_t last = bytes;
  bytes = 0;
  if (chunks > 1) visit_chunk(layout, model.config(), kChunkTokens, count, count);
  return last + (chunks > 1 ? static_cast<uint64_t>(chunks - 1) * bytes : 0);
}

void write_kv(const Model& model, KvCache& cache, const std::function<void(std::span<const std::byte>)>& write) {
  const KvCache::Storage& storage = cache.storage();
  const int64_t lane = lane_bytes(storage.layout);
  std::vector<std::byte> tiles;
  for (int64_t chunk = 0; chunk < chunks_of(storage.length_tokens); ++chunk) {
    const std::byte* memory = storage.chunks[static_cast<size_t>(chunk)].data();
    const int64_t n = held_in(chunk, storage.length_tokens), used = n % kTileRows;
    const auto keys = [&](int64_t begin, int64_t bytes) {
      tiles.assign(memory + begin, memory + begin + bytes);
      const int64_t last =
          bytes / ((n + kTileRows - 1) / kTileRows);  // the last tile: without positions beyond the end
      for (int64_t at = bytes - last; used > 0 && at < bytes; at += kTileRows * lane)
        std::fill_n(tiles.begin() + at + used * lane, (kTileRows - used) * lane, std::byte{0});
      write(tiles);
    };
    const auto rest = [&](int64_t begin, int64_t bytes) { write({memory + begin, static_cast<size_t>(bytes)}); };
    visit_chunk(storage.layout, model.config(), n, keys, rest);
  }
}

KvCache read_kv(const Model& model, int64_t length_tokens, const std::function<void(std::span<std::byte>)>& read) {
  KvCache cache(model);
  KvCache::Storage& storage = cache.storage();
  storage.reserve(length_tokens);
  for (int64_t chunk = 0; chunk < chunks_of(length_tokens); ++chunk) {
    std::byte* memory = storage.chunks[static_cast<size_t>(chunk)].data();
    const auto into = [&](int64_t begin, int64_t bytes) { read({memory + begin, static_cast<size_t>(bytes)}); };
    visit_chunk(storage.layout, model.config(), held_in(chunk, length_tokens), into, into);
  }
  storage.length_tokens = length_tokens;
  return cache;
}

}  // namespace attar::runtime
