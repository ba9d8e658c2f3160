// Where keys and values lie: in chunks of 256 positions, each for all layers, as tiles that the kernels read.
//   keys    [kv head][16 tiles][D][16 positions]        scores = tiles x queries
//   values  [kv head][ceil(D / 16) tiles][256 positions][16 dims]   outputs = tiles x probabilities
// f32 in fp32 mode, f16 deployed. Or int8, with an f32 scale a head and position behind each head's codes:
//   keys    [kv head]{[16 tiles][ceil(D / 4)][16 positions][4 dims], scales [256 positions]}
//   values  [kv head]{[ceil(D / 16) tiles][256 positions][16 dims], scales [256 positions]}
// both mixed (mix_head) before they are rounded.
#pragma once

#include <cstdint>
#include <vector>

#include "runtime/base/aligned_buffer.h"
#include "runtime/kernels/kernels.h"
#include "runtime/model/model.h"

namespace attar::runtime {

// The Walsh-Hadamard transform of a head, not normalized: twice gives n times what was there. It spreads a few large
// dims over all, so that one scale serves them (Ashkboos et al., "QuaRot", 2024, section 4). Heads whose width is no
// power of two stay as they are: then false.
bool mix_head(float* x, int64_t n);

struct KvLayout {
  explicit KvLayout(const Model& model);

  struct Layer {
    int64_t head_dim, dim_tiles;       // D, ceil(D / 16)
    int64_t key_offset, value_offset;  // bytes into a chunk
    int64_t key_bytes, value_bytes;    // of one head in a chunk, with its scales
  };
  bool coded() const { return format == TileFormat::I8; }

  std::vector<Layer> layers;
  uint64_t model_id;  // whose keys and values these are
  int64_t chunk_bytes = 0;
  int64_t element_bytes = 4;
  TileFormat format = TileFormat::F32;  // F32, F16; I8: int8 with scales
};

struct KvCache::Storage {
  explicit Storage(const Model& model) : layout(model) {}
  explicit Storage(const KvLayout& same) : layout(same) {}

  void reserve(int64_t length_tokens);
  // Tiles of one chunk: keys with the depth D, values with the depth of the positions used.
  PlainTiles keys(int64_t layer, int64_t head, int64_t chunk) const;
  PlainTiles values(int64_t layer, int64_t head, int64_t chunk) const;
  // The same of int8: scales of a head's keys or values in a chunk.
  CodedKeys coded_keys(int64_t layer, int64_t head, int64_t chunk) const;
  const float* value_scales(int64_t layer, int64_t head, int64_t chunk) const;  // (256), over kCodeUnit
  // Stores one position's key and value. `scratch` (3 * padded D) halves.
  void write(const Kernels& kernels, int64_t layer, int64_t head, int64_t position, const float* key,
             const float* value, uint16_t* scratch);

  KvLayout layout;
  std::vector<AlignedBuffer> chunks;
  int64_t length_tokens = 0;
};

}  // namespace attar::runtime
