// The keys are taken in chunks of 256 positions, counted from the sequence's start. Each chunk gives its own maximum,
// sum and weighted values; chunks are merged in order. The partition depends on positions alone, so a query's result
// does not depend on how many others are computed with it.
#include "runtime/model/attention.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace attar::runtime {
namespace {

constexpr int64_t kStreamingColumns = 8;  // with so few, keys and values come from memory slower than they are used

struct Scratch {
  float* scores;     // (columns, kScoreStride)
  float* queries;    // (columns, D)
  int8_t* codes;     // (columns, padded D): the queries as int8, where the keys are; then what that leaves of them
  HeadInfo* heads;   // (2 * columns), of the codes
  float* rest;       // (columns, kScoreStride): scores of what is left
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

int64_t head_dim_of(const AttentionTask& task) {
  return task.cache->layout.layers[static_cast<size_t>(task.layer)].head_dim;
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
  s.heads = reinterpret_cast<HeadInfo*>(s.sum + columns);
  s.rest = reinterpret_cast<float*>(s.heads + 2 * columns);
  s.codes = reinterpret_cast<int8_t*>(s.rest + columns * kScoreStride);
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

// What is in sight of a task's rows in a chunk: positions [begin, end), begin a multiple of 16.
struct Sight {
  int64_t begin, end;
  int64_t tiles() const { return (end - begin + kTileRows - 1) / kTileRows; }
};
Sight sight_of(const AttentionTask& task, int64_t chunk) {
  const int64_t base = chunk * kChunkTokens;
  const int64_t lowest = std::max(first_visible(task, task.first_position) - base, int64_t{0});
  return {lowest / kTileRows * kTileRows, std::min(task.first_position + task.n_rows - base, kChunkTokens)};
}

// -> scores (columns, kScoreStride), from sight.begin on
void score_keys(const Kernels& kernels, const AttentionTask& task, const Scratch& s, int64_t chunk, Sight sight,
                const void* next) {
  const int64_t columns = task.n_rows * task.group, tile = sight.begin / kTileRows;
  const Output scores = {.values = s.scores + sight.begin, .stride = kScoreStride};
  if (task.cache->layout.coded()) {
    CodedKeys keys = task.cache->coded_keys(task.layer, task.kv_head, chunk);
    keys.codes += tile * keys.n_quads * 4 * kTileRows;
    keys.scales += sight.begin;
    keys.n_tiles = sight.tiles();
    keys.next = next;
    const int64_t width = padded(head_dim_of(task));
    kernels.score_codes(keys, s.codes, width, s.heads, columns, scores);
    kernels.score_codes(keys, s.codes + columns * width, width, s.heads + columns, columns,
                        {.values = s.rest, .stride = kScoreStride});
    for (int64_t c = 0; c < columns; ++c)
      kernels.add(scores.values + c * kScoreStride, s.rest + c * kScoreStride, keys.n_tiles * kTileRows);
    return;
  }
  PlainTiles keys = task.cache->keys(task.layer, task.kv_head, chunk);
  keys.data = static_cast<const std::byte*>(keys.data) + tile * keys.tile_bytes;
  keys.n_tiles = sight.tiles();
  keys.next = next;
  kernels.gemm_plain(keys, {s.queries, keys.depth}, columns, scores);
}

// One chunk's weighted values. `next`: what the thread reads after them, or nullptr.
void attend_chunk(const Kernels& kernels, const AttentionTask& task, const Scratch& s, int64_t chunk,
                  const void* next) {
  const int64_t columns = task.n_rows * task.group;
  const bool coded = task.cache->layout.coded(), streams = columns <= kStreamingColumns;
  const Sight sight = sight_of(task, chunk);
  PlainTiles values = task.cache->values(task.layer, task.kv_head, chunk);
  values.data = static_cast<const std::byte*>(values.data) + sight.begin * (values.tile_bytes / kChunkTokens);
  values.depth = sight.end - sight.begin;
  score_keys(kernels, task, s, chunk, sight, streams ? values.data : nullptr);
  float* scores = s.scores + sight.begin;
  normalize(kernels, task, s, chunk * kChunkTokens + sight.begin, sight.tiles() * kTileRows, scores);
  values.next = streams ? next : nullptr;
  const FloatRows weights = {scores, kScoreStride};
  const Output part = {.values = s.part, .stride = padded(head_dim_of(task))};
  if (!coded) return kernels.gemm_plain(values, weights, columns, part);
  const float* scales = task.cache->value_scales(task.layer, task.kv_head, chunk) + sight.begin;
  for (int64_t c = 0; c < columns; ++c) kernels.multiply(scores + c * kScoreStride, scales, values.depth);
  kernels.weigh_codes(values, weights, columns, part);
}

// A query as int8 codes and, in a second row, the codes of what those leave of it: together some 15 bits, so that all
// that is lost of a score is what the key has lost.
void quantize_query(const Kernels& kernels, const Scratch& s, int64_t column, int64_t columns, int64_t head_dim) {
  float* query = s.queries + column * head_dim;
  const float unmixed = mix_head(query, head_dim) ? 1.0f / static_cast<float>(head_dim) : 1.0f;
  for (int64_t row = column; row < 2 * columns; row += columns) {
    int8_t* codes = s.codes + row * padded(head_dim);
    kernels.quantize_head(query, head_dim, codes, &s.heads[row]);
    for (int64_t d = 0; d < head_dim; ++d) query[d] -= s.heads[row].scale * static_cast<float>(codes[d]);
    s.heads[row].scale *= unmixed;
  }
}

Scratch begin(const Kernels& kernels, const AttentionTask& task, float* scratch) {
  const int64_t head_dim = head_dim_of(task), columns = task.n_rows * task.group;
  const Scratch s = cut(scratch, columns, head_dim);
  for (int64_t row = 0; row < task.n_rows; ++row)
    std::memcpy(s.queries + row * task.group * head_dim, task.queries + row * task.stride,
                sizeof(float) * static_cast<size_t>(task.group * head_dim));
  if (task.cache->layout.coded())
    for (int64_t c = 0; c < columns; ++c) quantize_query(kernels, s, c, columns, head_dim);
  return s;
}

void finish(const AttentionTask& task, const Scratch& s) {
  const int64_t head_dim = head_dim_of(task), width = padded(head_dim);
  for (int64_t column = 0; column < task.n_rows * task.group; ++column) {
    float* out = task.out + column / task.group * task.stride + column % task.group * head_dim;
    float* total = s.total + column * width;
    float inverse = 1.0f / s.sum[column];
    if (task.cache->layout.coded() && mix_head(total, head_dim)) inverse /= static_cast<float>(head_dim);
    for (int64_t d = 0; d < head_dim; ++d) out[d] = total[d] * inverse;
  }
}

// One chunk's result at `part`: weighted values, maxima, sums.
Scratch with_part(Scratch s, const AttentionTask& task, float* part) {
  s.part = part;
  s.chunk_max = part + task.n_rows * task.group * padded(head_dim_of(task));
  s.chunk_sum = s.chunk_max + task.n_rows * task.group;
  return s;
}

// The keys of a chunk, which are read behind the values of the one before; nullptr behind the last.
const void* next_keys(const AttentionTask& task, int64_t chunk, int64_t last) {
  return chunk < last ? task.cache->keys(task.layer, task.kv_head, chunk + 1).data : nullptr;
}

}  // namespace

int64_t attention_scratch_floats(int64_t group, int64_t head_dim) {
  static_assert(sizeof(HeadInfo) == 2 * sizeof(float));
  return kQueryRows * group * (2 * kScoreStride + 3 * padded(head_dim) + 4 + 4 + padded(head_dim) / 2);
}

ChunkRange chunks_of(const AttentionTask& task) {
  return {first_visible(task, task.first_position) / kChunkTokens,
          (task.first_position + task.n_rows - 1) / kChunkTokens};
}

void attend(const Kernels& kernels, const AttentionTask& task, float* scratch) {
  const Scratch s = begin(kernels, task, scratch);
  const int64_t columns = task.n_rows * task.group;
  const ChunkRange chunks = chunks_of(task);
  std::fill_n(s.sum, columns, 0.0f);
  for (int64_t chunk = chunks.first; chunk <= chunks.last; ++chunk) {
    attend_chunk(kernels, task, s, chunk, next_keys(task, chunk, chunks.last));
    merge(kernels, s, columns, padded(head_dim_of(task)));
  }
  finish(task, s);
}

int64_t part_floats(int64_t columns, int64_t head_dim) {
  return (columns * (padded(head_dim) + 2) + kTileRows - 1) / kTileRows * kTileRows;
}

void attend_parts(const Kernels& kernels, const AttentionTask& task, ChunkRange chunks, float* scratch, float* parts) {
  const Scratch s = begin(kernels, task, scratch);
  const int64_t floats = part_floats(task.n_rows * task.group, head_dim_of(task));
  for (int64_t chunk = chunks.first; chunk <= chunks.last; ++chunk, parts += floats)
    attend_chunk(kernels, task, with_part(s, task, parts), chunk, next_keys(task, chunk, chunks.last));
}

void merge_parts(const Kernels& kernels, const AttentionTask& task, float* scratch, float* parts) {
  const int64_t columns = task.n_rows * task.group, head_dim = head_dim_of(task);
  const Scratch s = cut(scratch, columns, head_dim);
  const ChunkRange chunks = chunks_of(task);
  std::fill_n(s.sum, columns, 0.0f);
  for (int64_t i = 0; i <= chunks.last - chunks.first; ++i)
    merge(kernels, with_part(s, task, parts + i * part_floats(columns, head_dim)), columns, padded(head_dim));
  finish(task, s);
}

}  // namespace attar::runtime
