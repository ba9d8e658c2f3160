// A layer of a pass (pass.h): attention, then the feed-forward.
#include <algorithm>

#include "runtime/model/kv_cache.h"
#include "runtime/model/pass.h"

namespace attar::runtime {

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
          .out = b_.query.row(block.first_row) + column,
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
  const Forms forms = forms_of({&w.query, &w.key, &w.value});
  const InputRows x = normed(pass.pending_norm(layer - 1, false), w.attention_norm, forms);
  const Segment projections[] = {{&w.query, b.query.output()}, {&w.key, b.key.output()}, {&w.value, b.value.output()}};
  multiply_all(projections, x);
  meet(Operation::QueryKeyValue);

  if (pass.far_)
    attend_far(layer);
  else
    attend_near(layer);

  const InputRows heads = as_inputs(b.query, b.inputs, sizes.n_heads * sizes.head_dim, w.output.quantized());
  const bool own_norm = !w.post_attention_norm.empty();
  const Segment output[] = {{&w.output, own_norm ? b.branch.output() : b.residual.output(true)}};
  multiply_all(output, heads);
  meet(Operation::AttentionOutput);
}

// Tiles [first, last) of a matrix, whose memory stays where it is.
static Matrix part_of(const Matrix& matrix, int64_t first, int64_t last) {
  Matrix part{.tiles = matrix.tiles};
  part.tiles.data += first * part.tiles.tile_bytes;
  part.tiles.n_tiles = last - first;
  part.tiles.rows = std::min(matrix.rows(), last * kTileRows) - first * kTileRows;
  return part;
}

static auto activation_of(const ModelConfig& config, const Kernels& kernels) {
  return traits(config.family).gelu ? kernels.gelu_gate : kernels.silu_gate;
}

// Gate and up of many rows, of the columns that are quantized together from `tile` on: all of these are in the caches
// while they are multiplied and quantized, and none of them anywhere else.
void Pass::Thread::gate_up_block(const LayerWeights& w, const InputRows& x, int64_t tile) {
  const int64_t last = std::min(tile + kBlock / kTileRows, w.gate.tiles.n_tiles), from = tile * kTileRows;
  const int64_t n = std::min(last * kTileRows, w.gate.rows()) - from;
  const bool quantize = w.down.quantized();
  Inputs& ffn = pass.b_.ffn;
  const Output own = {.values = scratch.gate_up.as<float>(), .stride = kBlock};
  const Output up = {.values = own.values + pass.n_rows_ * kBlock, .stride = kBlock};
  const Output gate = quantize ? own : Output{.values = ffn.values.row(0) + from, .stride = ffn.values.stride};
  multiply(pass.kernels_, part_of(w.gate, tile, last), 0, last - tile, x, gate, scratch.panels.as<uint8_t>());
  multiply(pass.kernels_, part_of(w.up, tile, last), 0, last - tile, x, up, scratch.panels.as<uint8_t>());
  const auto activate = activation_of(pass.config_, pass.kernels_);
  for (int64_t row = 0; row < pass.n_rows_; ++row) {
    float* values = gate.values + row * gate.stride;
    activate(values, up.values + row * up.stride, n);
    if (quantize)
      pass.kernels_.quantize(values, n, ffn.codes.as<int8_t>() + row * ffn.code_stride + from,
                             ffn.blocks.as<BlockInfo>() + row * ffn.max_blocks + from / kBlock);
  }
}

// activation(gate) * up, as `down` takes it
InputRows Pass::Thread::gate_up(const LayerWeights& w, const InputRows& x) {
  Workspace::Buffers& b = pass.b_;
  const int64_t tiles = w.gate.tiles.n_tiles, ffn = w.gate.rows();
  if (pass.n_rows_ > kFewRows) {
    share(tiles, grain(tiles), [&](int64_t first, int64_t last) {
      for (int64_t tile = first; tile < last; tile += kBlock / kTileRows) gate_up_block(w, x, tile);
    });
    meet(Operation::GateUp);
    return view(b.ffn, pass.n_rows_);
  }
  const auto activate = activation_of(pass.config_, pass.kernels_);
  share(tiles, grain(tiles), [&](int64_t first, int64_t last) {
    multiply(pass.kernels_, w.gate, first, last, x, b.ffn.values.output(), scratch.panels.as<uint8_t>());
    multiply(pass.kernels_, w.up, first, last, x, b.up.output(), scratch.panels.as<uint8_t>());
    const int64_t from = first * kTileRows, n = std::min(last * kTileRows, ffn) - from;
    for (int64_t row = 0; row < pass.n_rows_; ++row) activate(b.ffn.values.row(row) + from, b.up.row(row) + from, n);
  });
  meet(Operation::GateUp);
  return as_inputs(b.ffn.values, b.ffn, ffn, w.down.quantized());
}

void Pass::Thread::feed_forward(int64_t layer) {
  const LayerWeights& w = pass.weights_.layers[static_cast<size_t>(layer)];
  Workspace::Buffers& b = pass.b_;
  const InputRows hidden = gate_up(w, normed(pass.pending_norm(layer, true), w.ffn_norm, forms_of({&w.gate, &w.up})));
  const bool own_norm = !w.post_ffn_norm.empty();
  const Segment output[] = {{&w.down, own_norm ? b.branch.output() : b.residual.output(true)}};
  multiply_all(output, hidden);
  meet(Operation::Down);
}

}  // namespace attar::runtime
