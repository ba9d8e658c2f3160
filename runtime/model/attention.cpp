// The keys are taken in chunks of 256 positions, counted from the sequence's start. Each chunk gives its own maximum,
// sum and weighted values; chunks are merged in order. The partition depends on positions alone, so a query's result
// does not depend on how many others are computed with it.
#include "runtime/model/attention.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace attar::runtime {
namespace {

struct Scratch {
  float* scores;     // (columns, kScoreStride)
  float* queries;    // (columns, D)
  float* part;       // (columns, padded D): one chunk's weighted values
  float* total;      // (columns, padded D)
  float* chunk_max;  // (columns), of one chunk
  float* chunk_sum;  // (columns); 0: this column sees nothing of the chunk
  float* max;        // (columns), of the chunks merged so far
  float* sum;        // (columns); 0: none merged yet
};

int64_t padded(int64_t head_dim) {
  return (head_dim + kTileRows - 1) / kTileRows * kTileRows;
}

Scratch cut(float* memory, int64_t columns, int64_t head_dim) {
  Scratch s{};
  s.scores = memory;
  s.queries = s.scores + columns * kScoreStride;
  s.part = s.queries + columns * padded(head_dim);
  s.total = s.part + columns * padded(head_dim);
  s.chunk_max = s.total + columns * padded(head_dim);
  s.chunk_sum = s.chunk_max + columns;
  s.max = s.chunk_sum + columns;
  s.sum = s.max + columns;
  return s;
}

int64_t first_visible(const AttentionTask& task, int64_t position) {
  return task.window > 0 ? std::max<int64_t>(0, position - task.window + 1) : 0;
}

// Scores to probabilities, in place; what a column does not see becomes 0.
void normalize(const Kernels& kernels, const AttentionTask& task, const Scratch& s, int64_t first_key, int64_t n_keys,
               float* scores) {
  for (int64_t column = 0; column < task.n_rows * task.group; ++column, scores += kScoreStride) {
    const int64_t position = task.first_position + column / task.group;
    const int64_t begin = std::clamp(first_visible(task, position) - first_key, int64_t{0}, n_keys);
    const int64_t end = std::clamp(position + 1 - first_key, int64_t{0}, n_keys);
    s.chunk_sum[column] = 0.0f;
    if (begin < end)
      kernels.softmax(scores, begin, end, n_keys, &s.chunk_max[column], &s.chunk_sum[column]);
    else
      std::fill_n(scores, n_keys, 0.0f);
  }
}

// Adds one chunk's result to what was merged before.
void merge(const Kernels& kernels, const Scratch& s, int64_t columns, int64_t width) {
  for (int64_t c = 0; c < columns; ++c) {
    if (s.chunk_sum[c] == 0.0f) continue;
    float* total = s.total + c * width;
    const float* part = s.part + c * width;
    if (s.sum[c] == 0.0f) {
      std::memcpy(total, part, sizeof(float) * static_cast<size_t>(width));
      s.max[c] = s.chunk_max[c];
      s.sum[c] = s.chunk_sum[c];
      continue;
    }
    const float highest = std::max(s.max[c], s.chunk_max[c]);
    const float a = std::exp(s.max[c] - highest), b = std::exp(s.chunk_max[c] - highest);
    kernels.blend(total, a, part, b, width);
    s.sum[c] = a * s.sum[c] + b * s.chunk_sum[c];
    s.max[c] = highest;
  }
}

void attend_chunk(const Kernels& kernels, const AttentionTask& task, const Scratch& s, int64_t chunk) {
  const int64_t base = chunk * kChunkTokens, columns = task.n_rows * task.group;
  const int64_t lowest = std::max(first_visible(task, task.first_position) - base, int64_t{0});
  const int64_t highest = std::min(task.first_position + task.n_rows - base, kChunkTokens);
  const int64_t first_tile = lowest / kTileRows, begin = first_tile * kTileRows;

  PlainTiles keys = task.cache->keys(task.layer, task.kv_head, chunk);
  const int64_t head_dim = keys.depth, width = padded(head_dim);
  keys.data = static_cast<const std::byte*>(keys.data) + first_tile * keys.tile_bytes;
  keys.n_tiles = (highest + kTileRows - 1) / kTileRows - first_tile;
  float* scores = s.scores + begin;
  kernels.gemm_plain(keys, {s.queries, head_dim}, columns, {.values = scores, .stride = kScoreStride});
  normalize(kernels, task, s, base + begin, keys.n_tiles * kTileRows, scores);

  PlainTiles values = task.cache->values(task.layer, task.kv_head, chunk);
  const int64_t position_bytes = values.tile_bytes / kChunkTokens;
  values.data = static_cast<const std::byte*>(values.data) + begin * position_bytes;
  values.depth = highest - begin;
  kernels.gemm_plain(values, {scores, kScoreStride}, columns, {.values = s.part, .stride = width});
}

int64_t head_dim_of(const AttentionTask& task) {
  return task.cache->layout.layers[static_cast<size_t>(task.layer)].head_dim;
}

Scratch begin(const AttentionTask& task, float* scratch) {
  const int64_t head_dim = head_dim_of(task), columns = task.n_rows * task.group;
  const Scratch s = cut(scratch, columns, head_dim);
  for (int64_t row = 0; row < task.n_rows; ++row)
    std::memcpy(s.queries + row * task.group * head_dim, task.queries + row * task.stride,
                sizeof(float) * static_cast<size_t>(task.group * head_dim));
  std::fill_n(s.sum, columns, 0.0f);
  return s;
}

void finish(const AttentionTask& task, const Scratch& s) {
  const int64_t head_dim = head_dim_of(task), width = padded(head_dim);
  for (int64_t column = 0; column < task.n_rows * task.group; ++column) {
    float* out = task.out + column / task.group * task.stride + column % task.group * head_dim;
    const float inverse = 1.0f / s.sum[column];
    for (int64_t d = 0; d < head_dim; ++d) out[d] = s.total[column * width + d] * inverse;
  }
}

// One chunk's result at `part`: weighted values, maxima, sums.
Scratch with_part(Scratch s, const AttentionTask& task, float* part) {
  s.part = part;
  s.chunk_max = part + task.n_rows * task.group * padded(head_dim_of(task));
  s.chunk_sum = s.chunk_max + task.n_rows * task.group;
  return s;
}

}  // namespace

int64_t attention_scratch_floats(int64_t group, int64_t head_dim) {
  return kQueryRows * group * (kScoreStride + 3 * padded(head_dim) + 4);
}

ChunkRange chunks_of(const AttentionTask& task) {
  return {first_visible(task, task.first_position) / kChunkTokens,
          (task.first_position + task.n_rows - 1) / kChunkTokens};
}

void attend(const Kernels& kernels, const AttentionTask& task, float* scratch) {
  const Scratch s = begin(task, scratch);
  const ChunkRange chunks = chunks_of(task);
  for (int64_t chunk = chunks.first; chunk <= chunks.last; ++chunk) {
    attend_chunk(kernels, task, s, chunk);
    merge(kernels, s, task.n_rows * task.group, padded(head_dim_of(task)));
  }
  finish(task, s);
}

int64_t part_floats(int64_t group, int64_t head_dim) {
  return (group * (padded(head_dim) + 2) + kTileRows - 1) / kTileRows * kTileRows;
}

void attend_part(const Kernels& kernels, const AttentionTask& task, int64_t chunk, float* scratch, float* part) {
  attend_chunk(kernels, task, with_part(begin(task, scratch), task, part), chunk);
}

void merge_parts(const Kernels& kernels, const AttentionTask& task, float* scratch, float* parts) {
  const Scratch s = begin(task, scratch);
  const ChunkRange chunks = chunks_of(task);
  for (int64_t i = 0; i <= chunks.last - chunks.first; ++i)
    merge(kernels, with_part(s, task, parts + i * part_floats(task.group, head_dim_of(task))), task.group,
          padded(head_dim_of(task)));
  finish(task, s);
}

}  // namespace attar::runtime
