#include "runtime/model/pass.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "runtime/base/fast_math.h"
#include "runtime/kernels/vocabulary_math.h"
#include "runtime/model/kv_cache.h"

namespace attar::runtime {

static constexpr int64_t kBlockTiles = kLogitBlock / kTileRows;

void Pass::find_sequences() {
  positions_.resize(rows_.size());
  for (int64_t row = 0; row < n_rows_; ++row) {
    KvCache::Storage* cache = &rows_[static_cast<size_t>(row)].cache->storage();
    if (sequences_.empty() || sequences_.back().cache != cache) {
      sequences_.push_back({cache, row, 0, cache->length_tokens});
    }
    Sequence& s = sequences_.back();
    positions_[static_cast<size_t>(row)] = s.first_position + s.n_rows++;
  }
  for (const Sequence& s : sequences_) {
    s.cache->reserve(s.first_position + s.n_rows);
    for (int64_t i = 0; i < s.n_rows; i += kQueryRows)
      blocks_.push_back({s.cache, s.first_row + i, std::min(kQueryRows, s.n_rows - i), s.first_position + i});
  }
}

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

// Tiles that a thread takes at once of many rows: a pair where they make that work enough, else a longer run of
// weights.
int64_t Pass::Thread::grain(int64_t tiles) const {
  return pass.n_rows_ >= 64 ? 2 : std::max<int64_t>(2, tiles / (8 * pass.team_) / 2 * 2);
}

void Pass::Thread::multiply_all(std::span<const Segment> segments, const InputRows& x) {
  int64_t tiles = 0;
  for (const Segment& s : segments) tiles += s.matrix->tiles.n_tiles;
  share(tiles, grain(tiles), [&](int64_t first, int64_t last) {
    int64_t base = 0;
    for (const Segment& s : segments) {
      const int64_t n = s.matrix->tiles.n_tiles;
      const int64_t from = std::clamp(first - base, int64_t{0}, n), to = std::clamp(last - base, int64_t{0}, n);
      if (from < to) multiply(pass.kernels_, *s.matrix, from, to, x, s.out, scratch.panels.as<uint8_t>());
      base += n;
    }
  });
}

InputRows Pass::Thread::view(Inputs& inputs, int64_t n_rows) const {
  return {
      .values = {inputs.values.memory.as<float>(), inputs.values.stride},
      .quantized = {inputs.codes.as<int8_t>(), inputs.blocks.as<BlockInfo>(), inputs.code_stride, inputs.max_blocks},
      .n_rows = n_rows};
}

// residual += norm(branch, post) where a branch has a norm of its own; then norm(residual), quantized for its
// consumers.
void Pass::Thread::norm_into(int64_t row, const std::vector<float>* post, const std::vector<float>& norm,
                             Inputs& inputs, int64_t target, bool quantize) {
  float* out = inputs.values.row(target);
  float* residual = pass.b_.residual.row(row);
  if (post) {
    pass.kernels_.rms_norm(pass.b_.branch.row(row), post->data(), pass.epsilon_, pass.width_, out);
    pass.kernels_.add(residual, out, pass.width_);
  }
  pass.kernels_.rms_norm(residual, norm.data(), pass.epsilon_, pass.width_, out);
  if (quantize) inputs.quantize(pass.kernels_, target, out, pass.width_);
}

InputRows Pass::Thread::normed(const std::vector<float>* post, const std::vector<float>& norm, bool quantize) {
  if (prepares_all() && !post) {
    for (int64_t row = 0; row < pass.n_rows_; ++row) norm_into(row, nullptr, norm, scratch.inputs, row, quantize);
    done(Operation::Norms);
    return view(scratch.inputs, pass.n_rows_);
  }
  share(pass.n_rows_, 4, [&](int64_t first, int64_t last) {
    for (int64_t row = first; row < last; ++row) norm_into(row, post, norm, pass.b_.inputs, row, quantize);
  });
  meet(Operation::Norms);
  return view(pass.b_.inputs, pass.n_rows_);
}

InputRows Pass::Thread::as_inputs(RowBuffer& values, int64_t columns, bool quantize) {
  Inputs& inputs = prepares_all() ? scratch.inputs : pass.b_.inputs;
  InputRows x = view(inputs, pass.n_rows_);
  x.values = {values.memory.as<float>(), values.stride};
  if (!quantize) return x;
  if (prepares_all()) {
    for (int64_t row = 0; row < pass.n_rows_; ++row) inputs.quantize(pass.kernels_, row, values.row(row), columns);
    done(Operation::Norms);
    return x;
  }
  share(pass.n_rows_, 4, [&](int64_t first, int64_t last) {
    for (int64_t row = first; row < last; ++row) inputs.quantize(pass.kernels_, row, values.row(row), columns);
  });
  meet(Operation::Norms);
  return x;
}

void Pass::Thread::embed() {
  share(pass.n_rows_, 4, [&](int64_t first, int64_t last) {
    for (int64_t row = first; row < last; ++row) {
      float* x = pass.b_.residual.row(row);
      pass.weights_.embed(pass.rows_[static_cast<size_t>(row)].token, x);
      if (pass.weights_.embedding_scale != 1.0f)
        for (int64_t i = 0; i < pass.width_; ++i) x[i] *= pass.weights_.embedding_scale;
      for (size_t r = 0; r < pass.weights_.ropes.size(); ++r) {
        const std::vector<float>& frequencies = pass.weights_.ropes[r];
        const auto position = static_cast<float>(pass.positions_[static_cast<size_t>(row)]);
        for (size_t j = 0; j < frequencies.size(); ++j) {
          const double angle = position * frequencies[j];  // rounded to f32, as Hugging Face computes it
          pass.b_.cosines[r].row(row)[j] = static_cast<float>(std::cos(angle));
          pass.b_.sines[r].row(row)[j] = static_cast<float>(std::sin(angle));
        }
      }
    }
  });
  meet(Operation::Embedding);
}

static void add_bias(const Kernels& kernels, float* x, const std::vector<float>& bias, int64_t head, int64_t head_dim) {
  if (!bias.empty()) kernels.add(x, bias.data() + head * head_dim, head_dim);
}

// One key/value head of a row and its query heads: bias, head norm, RoPE; then into the cache.
void Pass::Thread::place_heads(int64_t layer, int64_t row, int64_t kv_head) {
  const LayerWeights& w = pass.weights_.layers[static_cast<size_t>(layer)];
  const LayerConfig& sizes = pass.config_.layers[static_cast<size_t>(layer)];
  const Kernels& kernels = pass.kernels_;
  const int64_t d = sizes.head_dim, group = sizes.n_heads / sizes.n_kv_heads;
  const float* cosines = pass.b_.cosines[w.rope].row(row);
  const float* sines = pass.b_.sines[w.rope].row(row);
  const auto rotate = [&](float* x, const std::vector<float>& bias, const std::vector<float>& norm, int64_t head,
                          float scale) {
    add_bias(kernels, x, bias, head, d);
    if (!norm.empty()) kernels.rms_norm(x, norm.data(), pass.epsilon_, d, x);
    kernels.rope(x, cosines, sines, d / 2, scale);
  };
  const auto scale = static_cast<float>(pass.config_.score_scale(sizes));
  const auto even_out = [&](float* x, const std::vector<float>& scales) {
    if (!scales.empty()) kernels.multiply(x, scales.data() + kv_head * d, d);
  };
  for (int64_t head = kv_head * group; head < (kv_head + 1) * group; ++head) {
    float* query = pass.b_.query.row(row) + head * d;
    rotate(query, w.query_bias, w.query_norm, head, scale);
    even_out(query, w.query_scales);
  }
  float* key = pass.b_.key.row(row) + kv_head * d;
  float* value = pass.b_.value.row(row) + kv_head * d;
  rotate(key, w.key_bias, w.key_norm, kv_head, 1.0f);
  even_out(key, w.key_scales);
  add_bias(kernels, value, w.value_bias, kv_head, d);
  pass.rows_[static_cast<size_t>(row)].cache->storage().write(
      kernels, layer, kv_head, pass.positions_[static_cast<size_t>(row)], key, value, scratch.halves.data());
}

// The norm that a layer's branch output still has to go through before it joins the residual, or nullptr.
const std::vector<float>* Pass::pending_norm(int64_t layer, bool after_attention) const {
  if (layer < 0) return nullptr;
  const LayerWeights& w = weights_.layers[static_cast<size_t>(layer)];
  const std::vector<float>& norm = after_attention ? w.post_attention_norm : w.post_ffn_norm;
  return norm.empty() ? nullptr : &norm;
}

AttentionTask Pass::attention_task(int64_t layer, const QueryBlock& block, int64_t kv_head) {
  const LayerConfig& sizes = config_.layers[static_cast<size_t>(layer)];
  const int64_t group = sizes.n_heads / sizes.n_kv_heads, column = kv_head * group * sizes.head_dim;
  return {.cache = block.cache,
          .layer = layer,
          .kv_head = kv_head,
          .first_position = block.first_position,
          .n_rows = block.n_rows,
          .group = group,
          .window = weights_.layers[static_cast<size_t>(layer)].window,
          .queries = b_.query.row(block.first_row) + column,
          .out = b_.attended.row(block.first_row) + column,
          .stride = b_.query.stride};
}

void Pass::Thread::place_all(int64_t layer) {
  const int64_t kv_heads = pass.config_.layers[static_cast<size_t>(layer)].n_kv_heads;
  share(pass.n_rows_ * kv_heads, 4 * kv_heads, [&](int64_t first, int64_t last) {
    for (int64_t i = first; i < last; ++i) place_heads(layer, i / kv_heads, i % kv_heads);
  });
  meet(Operation::RopeAndCache);
}

// A few rows far into their sequence: heads times chunks of keys are shared out, then merged.
void Pass::Thread::attend_far(int64_t layer) {
  const int64_t kv_heads = pass.config_.layers[static_cast<size_t>(layer)].n_kv_heads;
  const QueryBlock& block = pass.blocks_[0];
  float* memory = scratch.attention.as<float>();
  const AttentionTask first_head = pass.attention_task(layer, block, 0);
  const ChunkRange chunks = chunks_of(first_head);
  const int64_t n_chunks = chunks.last - chunks.first + 1;
  const int64_t head_dim = pass.config_.layers[static_cast<size_t>(layer)].head_dim;
  const int64_t floats = part_floats(block.n_rows * first_head.group, head_dim);
  float* parts = pass.b_.parts.as<float>();
  place_all(layer);
  share(kv_heads * n_chunks, 1, [&](int64_t first, int64_t last) {
    for (int64_t i = first, end; i < last; i = end) {  // the chunks of one head
      const int64_t head = i / n_chunks;
      end = std::min(last, (head + 1) * n_chunks);
      attend_parts(pass.kernels_, pass.attention_task(layer, block, head),
                   {chunks.first + i % n_chunks, chunks.first + (end - 1) % n_chunks}, memory, parts + i * floats);
    }
  });
  meet(Operation::Attention);
  share(kv_heads, 1, [&](int64_t first, int64_t last) {
    for (int64_t head = first; head < last; ++head)
      merge_parts(pass.kernels_, pass.attention_task(layer, block, head), memory, parts + head * n_chunks * floats);
  });
  meet(Operation::Attention);
}

// One unit a (block of rows, key/value head). Of few rows each thread takes a run of units that see as many keys in all
// as those of others, and the same ones in every pass, so that they stay in its cache.
void Pass::Thread::attend_near(int64_t layer) {
  const int64_t kv_heads = pass.config_.layers[static_cast<size_t>(layer)].n_kv_heads;
  const bool whole = pass.n_rows_ <= kQueryRows;  // blocks are all of their sequences: nobody else waits for their keys
  const auto attend_to = [&](const QueryBlock& block, int64_t kv_head) {
    for (int64_t row = 0; row < block.n_rows && whole; ++row) place_heads(layer, block.first_row + row, kv_head);
    if (whole) lap(Operation::RopeAndCache);
    attend(pass.kernels_, pass.attention_task(layer, block, kv_head), scratch.attention.as<float>());
    lap(Operation::Attention);
  };
  if (whole) {
    const auto keys = [](const QueryBlock& block) { return block.first_position + block.n_rows; };
    int64_t all = 0, before = 0;
    for (const QueryBlock& block : pass.blocks_) all += kv_heads * keys(block);
    for (const QueryBlock& block : pass.blocks_)
      for (int64_t head = 0; head < kv_heads; ++head, before += keys(block))
        if ((2 * before + keys(block)) * pass.team_ / (2 * all) == index) attend_to(block, head);
    done(Operation::RopeAndCache);
  } else {
    place_all(layer);
    share(static_cast<int64_t>(pass.blocks_.size()) * kv_heads, 1, [&](int64_t first, int64_t last) {
      for (int64_t i = first; i < last; ++i) attend_to(pass.blocks_[static_cast<size_t>(i / kv_heads)], i % kv_heads);
    });
  }
  meet(Operation::Attention);
}

void Pass::Thread::attention(int64_t layer) {
  const LayerWeights& w = pass.weights_.layers[static_cast<size_t>(layer)];
  const LayerConfig& sizes = pass.config_.layers[static_cast<size_t>(layer)];
  Workspace::Buffers& b = pass.b_;
  const bool quantized = w.query.quantized() || w.key.quantized() || w.value.quantized();
  const InputRows x = normed(pass.pending_norm(layer - 1, false), w.attention_norm, quantized);
  const Segment projections[] = {{&w.query, b.query.output()}, {&w.key, b.key.output()}, {&w.value, b.value.output()}};
  multiply_all(projections, x);
  meet(Operation::QueryKeyValue);

  if (pass.far_)
    attend_far(layer);
  else
    attend_near(layer);

  const InputRows heads = as_inputs(b.attended, sizes.n_heads * sizes.head_dim, w.output.quantized());
  const bool own_norm = !w.post_attention_norm.empty();
  const Segment output[] = {{&w.output, own_norm ? b.branch.output() : b.residual.output(true)}};
  multiply_all(output, heads);
  meet(Operation::AttentionOutput);
}

void Pass::Thread::feed_forward(int64_t layer) {
  const LayerWeights& w = pass.weights_.layers[static_cast<size_t>(layer)];
  Workspace::Buffers& b = pass.b_;
  const InputRows x = normed(pass.pending_norm(layer, true), w.ffn_norm, w.gate.quantized() || w.up.quantized());
  const auto activate = traits(pass.config_.family).gelu ? pass.kernels_.gelu_gate : pass.kernels_.silu_gate;
  const int64_t tiles = w.gate.tiles.n_tiles, ffn = w.gate.rows();
  share(tiles, grain(tiles), [&](int64_t first, int64_t last) {
    multiply(pass.kernels_, w.gate, first, last, x, b.gate.output(), scratch.panels.as<uint8_t>());
    multiply(pass.kernels_, w.up, first, last, x, b.up.output(), scratch.panels.as<uint8_t>());
    const int64_t from = first * kTileRows, n = std::min(last * kTileRows, ffn) - from;
    for (int64_t row = 0; row < pass.n_rows_; ++row) activate(b.gate.row(row) + from, b.up.row(row) + from, n);
  });
  meet(Operation::GateUp);

  const InputRows hidden = as_inputs(b.gate, ffn, w.down.quantized());
  const bool own_norm = !w.post_ffn_norm.empty();
  const Segment output[] = {{&w.down, own_norm ? b.branch.output() : b.residual.output(true)}};
  multiply_all(output, hidden);
  meet(Operation::Down);
}

// Output norm and head, for the rows that asked.
void Pass::Thread::finish() {
  const auto asked = static_cast<int64_t>(pass.asked_.size());
  if (asked == 0) return;
  Workspace::Buffers& b = pass.b_;
  const Matrix& head = pass.weights_.head;
  const std::vector<float>* post = pass.pending_norm(pass.config_.n_layers() - 1, false);
  share(asked, 1, [&](int64_t first, int64_t last) {
    for (int64_t i = first; i < last; ++i) {
      norm_into(pass.asked_[static_cast<size_t>(i)], post, pass.weights_.output_norm, b.inputs, i, head.quantized());
      std::memcpy(b.hidden.row(pass.first_asked_ + i), b.inputs.values.row(i),
                  sizeof(float) * static_cast<size_t>(pass.width_));
    }
  });
  if (pass.answers_ == Answers::Hidden) return done(Operation::Norms);
  meet(Operation::Norms);
  multiply_head(asked);
  if (pass.answers_ != Answers::Summed) return done(Operation::Head);
  meet(Operation::Head);
  sum_logits(asked);
}

// Shared out by whole blocks of logits, whose maxima are found while they are in the cache.
void Pass::Thread::multiply_head(int64_t asked) {
  Workspace::Buffers& b = pass.b_;
  const Matrix& head = pass.weights_.head;
  const InputRows x = view(b.inputs, asked);
  Output out = b.logits.output();
  out.values = b.logits.row(pass.first_asked_);
  const int64_t tiles = head.tiles.n_tiles, vocab_size = head.rows();
  share(logit_blocks(vocab_size), std::max<int64_t>(1, grain(tiles) / kBlockTiles), [&](int64_t first, int64_t last) {
    multiply(pass.kernels_, head, first * kBlockTiles, std::min(last * kBlockTiles, tiles), x, out,
             scratch.panels.as<uint8_t>());
    if (pass.answers_ != Answers::Summed) return;
    const int64_t from = first * kLogitBlock, n = std::min(last * kLogitBlock, vocab_size) - from;
    for (int64_t row = pass.first_asked_; row < pass.first_asked_ + asked; ++row)
      block_maxima({b.logits.row(row) + from, static_cast<size_t>(n)}, b.maxima.row(row) + first);
  });
}

// Chunk by chunk, as log_sum_exp() sums them.
void Pass::Thread::sum_logits(int64_t asked) {
  Workspace::Buffers& b = pass.b_;
  const int64_t vocab_size = pass.weights_.head.rows(), chunks = sum_chunks(vocab_size);
  share(asked * chunks, 1, [&](int64_t first, int64_t last) {
    for (int64_t i = first; i < last; ++i) {
      const int64_t row = pass.first_asked_ + i / chunks, chunk = i % chunks;
      const float most = maximum(b.maxima.row(row), logit_blocks(vocab_size));
      b.sums.row(row)[chunk] = chunk_sum({b.logits.row(row), static_cast<size_t>(vocab_size)}, chunk, most);
    }
  });
  done(Operation::Sampling);
}

void Pass::Thread::run() {
  lap(Operation::Waiting);  // to be woken
  embed();
  for (int64_t layer = 0; layer < pass.config_.n_layers(); ++layer) {
    attention(layer);
    feed_forward(layer);
  }
  finish();
}

}  // namespace attar::runtime
