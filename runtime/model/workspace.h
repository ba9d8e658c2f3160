// Scratch of forward(): one set of row buffers, and per-thread scratch.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "runtime/base/aligned_buffer.h"
#include "runtime/base/host/team_size.h"
#include "runtime/kernels/kernels.h"
#include "runtime/model/model.h"
#include "runtime/model/profile.h"

namespace attar::runtime {

inline constexpr int64_t kMaxPassRows = 512;  // a larger batch is taken in passes
inline constexpr int64_t kOwnRows = 4;  // whose inputs each thread makes for itself: sooner than a barrier is over
// A pass of at most so many rows takes as long as the last of as many: TeamSize says how many threads it runs on.
inline constexpr int64_t kFewRows = 16;

// (rows, stride) of f32; the stride is padded for whole tiles and off powers of two.
struct RowBuffer {
  AlignedBuffer memory;
  int64_t stride = 0;

  float* row(int64_t r) { return memory.as<float>() + r * stride; }
  Output output(bool add = false) { return {.values = memory.as<float>(), .stride = stride, .add = add}; }
};

// Rows as the kernels take them: f32, or quantized, or both. What no consumer wants is never written, and so never
// resident.
struct Inputs {
  RowBuffer values;
  AlignedBuffer codes, blocks;
  int64_t code_stride = 0, max_blocks = 0;

  void resize(int64_t rows, int64_t columns, int64_t value_rows);
  void quantize(const Kernels& kernels, int64_t row, const float* x, int64_t columns);
};

struct ThreadScratch {
  Inputs inputs;          // kOwnRows rows of its own; the first also of values that are quantized at once
  AlignedBuffer gate_up;  // (2, rows, kBlock): gate and up, of as many columns as are quantized together
  AlignedBuffer panels;
  AlignedBuffer attention;
  std::vector<uint16_t> halves;
};

struct Workspace::Buffers {
  Buffers(const Model& model, ThreadPool& pool);
  void reserve(const Model& model, int64_t rows);
  void reserve_parts(const Model& model, int64_t n_rows, int64_t last_position);
  void reserve_outputs(int64_t asked, Answers answers);

  ThreadPool& threads;
  TeamSize team;  // of them that passes of few rows run on
  const uint64_t model_id;
  const int64_t vocab_size, width;
  int64_t rows = 0;                                  // there is memory for; 0 while it is being got
  int64_t logits_rows = 0, hidden_rows = 0;          // the same of answers
  int64_t answered_logits = 0, answered_hidden = 0;  // rows that the last forward() gave
  int64_t summed_rows = 0, answered_sums = 0;        // both of maxima and sums
  RowBuffer residual;                                // (rows, C)
  RowBuffer query, key, value;  // (rows, H*D), (rows, K*D), (rows, K*D); attention's outputs replace queries
  RowBuffer up;                 // (at most kFewRows, F)
  RowBuffer branch;             // (rows, C): a branch's output before its own norm (sandwich norms)
  Inputs inputs;                // (rows, the wider of C and H*D)
  Inputs ffn;                   // (rows, F): gate, times up; values of few rows alone where `down` takes codes
  std::vector<RowBuffer> cosines, sines;  // one a rope table: (rows, D/2)
  RowBuffer logits, hidden;               // (asked, V), (asked, C)
  RowBuffer maxima, sums;                 // of logits: (asked, logit_blocks), (asked, sum_chunks)
  AlignedBuffer parts;                    // of far attention: [kv head][chunk][part_floats]
  std::vector<ThreadScratch> scratch;
  std::vector<std::atomic<int64_t>> tickets;  // one a phase of a pass
  Profile* profile = nullptr;                 // of every pass; of as many threads as there are
};

}  // namespace attar::runtime
