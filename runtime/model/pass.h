// One pass of a batch through the model. All threads run the same program over the layers and meet at barriers; what
// each computes of a phase is a range of rows, heads or tiles. Which thread computes a number never changes it.
//
// A layer: [norm, quantize] q k v | (bias, head norm, RoPE, cache) attention | [quantize] o + residual |
//          [norm, quantize] gate up, activation | [quantize] down + residual |
// where | is a barrier. What stands in [ ] is done by every thread for itself when there are at most kOwnRows rows,
// else shared out with a barrier of its own, but for what `down` takes of many rows, which whoever computes a block of
// columns quantizes at once; what stands in ( ) has a barrier of its own where a sequence has more rows than a block,
// or its attention is shared out by chunks of keys.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <vector>

#include "runtime/kernels/matmul.h"
#include "runtime/model/attention.h"
#include "runtime/model/model.h"
#include "runtime/model/profile.h"
#include "runtime/model/weights.h"
#include "runtime/model/workspace.h"

namespace attar::runtime {

// Consecutive rows of one sequence in a pass.
struct Sequence {
  KvCache::Storage* cache;
  int64_t first_row, n_rows, first_position;
};

// At most kQueryRows rows of one sequence.
struct QueryBlock {
  const KvCache::Storage* cache;
  int64_t first_row, n_rows, first_position;
};

struct Segment {
  const Matrix* matrix;
  Output out;
};

// How the matrices that rows are multiplied with take them.
struct Forms {
  bool values = false, codes = false;
};
Forms forms_of(std::initializer_list<const Matrix*> matrices);

class Pass {
 public:
  Pass(const Model& model, std::span<const Row> rows, Workspace::Buffers& buffers, int64_t first_asked, Answers answers)
      : weights_(model.weights()),
        kernels_(*weights_.kernels),
        config_(model.config()),
        rows_(rows),
        n_rows_(static_cast<int64_t>(rows.size())),
        b_(buffers),
        threads_(buffers.threads),
        team_(n_rows_ <= kFewRows ? buffers.team.now() : buffers.threads.size()),
        width_(config_.width),
        epsilon_(static_cast<float>(config_.norm_epsilon)),
        first_asked_(first_asked),
        answers_(answers) {
    find_sequences();
    for (int64_t row = 0; row < n_rows_; ++row)
      if (rows_[static_cast<size_t>(row)].wants_logits) asked_.push_back(row);
    far_ = blocks_.size() == 1 && team_ > 1 && positions_[0] >= 2 * kChunkTokens;
    if (far_) b_.reserve_parts(model, n_rows_, positions_.back());
  }

  void run() {
    for (auto& ticket : b_.tickets) ticket.store(0, std::memory_order_relaxed);
    const auto begun = std::chrono::steady_clock::now();
    if (b_.profile != nullptr) b_.profile->begin(begun);
    threads_.run([this](int thread) { Thread{*this, thread}.run(); }, team_);
    const auto ended = std::chrono::steady_clock::now();
    if (n_rows_ <= kFewRows) b_.team.took(std::chrono::duration<double>(ended - begun).count(), n_rows_);
    if (b_.profile != nullptr) {
      b_.profile->end(ended, team_);
      count_work(*b_.profile);
    }
    for (const Sequence& s : sequences_) s.cache->length_tokens += s.n_rows;
  }

 private:
  // What one thread does.
  struct Thread {
    Pass& pass;
    int index;
    size_t phase = 0;
    ThreadScratch& scratch = pass.b_.scratch[static_cast<size_t>(index)];
    ThreadTimes* times =  // nullptr: nobody asks
        pass.b_.profile != nullptr ? &pass.b_.profile->threads[static_cast<size_t>(index)] : nullptr;

    void run();
    void embed();
    void attention(int64_t layer);
    void feed_forward(int64_t layer);
    void finish();
    void multiply_head(int64_t asked);
    void sum_logits(int64_t asked);
    void place_heads(int64_t layer, int64_t row, int64_t kv_head);
    void place_all(int64_t layer);
    void attend_near(int64_t layer);
    void attend_far(int64_t layer);
    InputRows gate_up(const LayerWeights& w, const InputRows& x);
    void gate_up_block(const LayerWeights& w, const InputRows& x, int64_t tile);
    const float* norm_into(int64_t row, const std::vector<float>* post, const std::vector<float>& norm, Inputs& inputs,
                           int64_t target, Forms forms);
    InputRows normed(const std::vector<float>* post, const std::vector<float>& norm, Forms forms);
    InputRows as_inputs(RowBuffer& values, Inputs& shared, int64_t columns, bool quantize);
    InputRows view(Inputs& inputs, int64_t n_rows) const;
    void multiply_all(std::span<const Segment> segments, const InputRows& x);
    template <class F>
    void share(int64_t n, int64_t grain, F work);
    void lap(Operation operation) {
      if (times != nullptr) times->lap(operation);
    }
    void done(Operation operation) {
      if (times != nullptr) times->done(operation);
    }
    void meet(Operation before) {
      done(before);
      pass.threads_.barrier();
      done(Operation::Waiting);
    }
    // Whether each thread makes the inputs of all rows for itself.
    bool prepares_all() const { return pass.n_rows_ <= kOwnRows; }
    int64_t grain(int64_t tiles) const;
  };

  void find_sequences();
  void count_work(Profile& profile) const;
  AttentionTask attention_task(int64_t layer, const QueryBlock& block, int64_t kv_head);
  const std::vector<float>* pending_norm(int64_t layer, bool after_attention) const;

  const Model::Weights& weights_;
  const Kernels& kernels_;
  const ModelConfig& config_;
  std::span<const Row> rows_;
  int64_t n_rows_;
  Workspace::Buffers& b_;
  ThreadPool& threads_;
  int team_;  // threads of this pass
  int64_t width_;
  float epsilon_;
  int64_t first_asked_;
  Answers answers_;
  bool far_ = false;  // few rows whose attention is worth sharing out by chunks of keys
  std::vector<int64_t> asked_;
  std::vector<Sequence> sequences_;
  std::vector<QueryBlock> blocks_;
  std::vector<int64_t> positions_;  // (rows)
};

// Splits n units: in equal contiguous ranges for few rows (each thread then reads one stream of weights, the next tile
// of which it has asked for), by tickets for many (threads that are held up take fewer).
template <class F>
void Pass::Thread::share(int64_t n, int64_t grain, F work) {
  std::atomic<int64_t>& ticket = pass.b_.tickets[phase++];
  if (pass.n_rows_ <= kFewRows) {
    const int64_t first = n * index / pass.team_, last = n * (index + 1) / pass.team_;
    if (first < last) work(first, last);
    return;
  }
  for (int64_t first; (first = ticket.fetch_add(grain, std::memory_order_relaxed)) < n;)
    work(first, std::min(first + grain, n));
}

}  // namespace attar::runtime
