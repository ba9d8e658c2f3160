// Softmax attention of a few consecutive positions of one sequence over its cache, for one key/value head and all query
// heads that share it.
#pragma once

#include <cstdint>

#include "runtime/kernels/kernels.h"
#include "runtime/model/kv_cache.h"

namespace attar::runtime {

inline constexpr int64_t kQueryRows = 16;                   // positions that are taken together
inline constexpr int64_t kScoreStride = kChunkTokens + 16;  // off the power of two, which would share cache sets

struct AttentionTask {
  const KvCache::Storage* cache = nullptr;
  int64_t layer = 0, kv_head = 0;
  int64_t first_position = 0, n_rows = 0;  // the cache holds keys up to first_position + n_rows
  int64_t group = 1;                       // query heads per key/value head
  int64_t window = 0;                      // keys seen, the query's own included; 0: all
  const float* queries = nullptr;          // (n_rows, stride): this group's heads, rotated and scaled
  float* out = nullptr;                    // (n_rows, stride): as queries
  int64_t stride = 0;
};

int64_t attention_scratch_floats(int64_t group, int64_t head_dim);

void attend(const Kernels& kernels, const AttentionTask& task, float* scratch);

// The same with its chunks of keys shared out between threads: every chunk of chunks_of() by attend_parts() into its
// part, then, when all are done, merge_parts(). To the bit what attend() gives.
struct ChunkRange {
  int64_t first, last;
};
ChunkRange chunks_of(const AttentionTask& task);
int64_t part_floats(int64_t columns, int64_t head_dim);  // of one chunk; columns: rows * group
void attend_parts(const Kernels& kernels, const AttentionTask& task, ChunkRange chunks, float* scratch, float* parts);
void merge_parts(const Kernels& kernels, const AttentionTask& task, float* scratch, float* parts);

}  // namespace attar::runtime
