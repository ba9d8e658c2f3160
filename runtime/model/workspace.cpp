#include "runtime/model/workspace.h"

#include <algorithm>
#include <string>

#include "runtime/base/error.h"
#include "runtime/base/fast_math.h"
#include "runtime/model/attention.h"
#include "runtime/model/weights.h"

namespace attar::runtime {
namespace {

int64_t padded(int64_t n, int64_t multiple) {
  return (n + multiple - 1) / multiple * multiple;
}

void resize(RowBuffer& buffer, int64_t rows, int64_t columns) {
  buffer.stride = padded(columns, kTileRows) + kTileRows;
  buffer.memory = AlignedBuffer(static_cast<size_t>(rows * buffer.stride) * sizeof(float));
}

struct Widths {
  int64_t query = 0, key = 0, ffn = 0;  // the widest of all layers
  int64_t input = 0;                    // the widest that a product takes
  int64_t panel_bytes = 0, attention_floats = 0, head_dim = 0;
};

Widths widths(const Model& model) {
  Widths w;
  const int64_t width = model.config().width;
  for (const LayerConfig& layer : model.config().layers) {
    w.query = std::max(w.query, layer.n_heads * layer.head_dim);
    w.key = std::max(w.key, layer.n_kv_heads * layer.head_dim);
    w.ffn = std::max(w.ffn, layer.ffn_width);
    w.head_dim = std::max(w.head_dim, layer.head_dim);
    if (layer.n_kv_heads > 0)
      w.attention_floats =
          std::max(w.attention_floats, attention_scratch_floats(layer.n_heads / layer.n_kv_heads, layer.head_dim));
  }
  w.input = std::max({width, w.query, w.ffn});
  const int64_t blocks = padded(w.input, kBlock) / kBlock;
  w.panel_bytes = blocks * (kTileRows * kBlock + 4 * kTileRows * 4);
  return w;
}

std::span<const float> answer(const char* what, RowBuffer& values, int64_t row, int64_t answered, int64_t columns) {
  if (row < 0 || row >= answered)
    throw usage_error(what, "the last forward() gave none for this row", "0 <= row < " + std::to_string(answered),
                      std::to_string(row));
  return {values.row(row), static_cast<size_t>(columns)};
}

}  // namespace

void Inputs::resize(int64_t rows, int64_t columns, int64_t value_rows) {
  attar::runtime::resize(values, value_rows, columns);
  max_blocks = padded(columns, kBlock) / kBlock;
  code_stride = max_blocks * kBlock + 64;
  codes = AlignedBuffer(static_cast<size_t>(rows * code_stride));
  blocks = AlignedBuffer(static_cast<size_t>(rows * max_blocks) * sizeof(BlockInfo));
}

void Inputs::quantize(const Kernels& kernels, int64_t row, const float* x, int64_t columns) {
  kernels.quantize(x, columns, codes.as<int8_t>() + row * code_stride, blocks.as<BlockInfo>() + row * max_blocks);
}

Workspace::Buffers::Buffers(const Model& model, ThreadPool& pool)
    : threads(pool),
      team(pool.size()),
      model_id(model.weights().id),
      vocab_size(model.config().vocab_size),
      width(model.config().width),
      tickets(static_cast<size_t>(12 * model.config().n_layers() + 4)) {
  const Widths w = widths(model);
  const int64_t tiles = std::max<int64_t>(1, model.weights().kernels->gemm_panel_tiles);
  scratch.resize(static_cast<size_t>(pool.size()));
  for (ThreadScratch& s : scratch) {
    s.inputs.resize(kOwnRows, w.input, kOwnRows);
    s.panels = AlignedBuffer(static_cast<size_t>(w.panel_bytes * tiles));
    s.attention = AlignedBuffer(static_cast<size_t>(w.attention_floats) * sizeof(float));
    s.halves.resize(static_cast<size_t>(3 * padded(w.head_dim, kTileRows)));
  }
}

void Workspace::Buffers::reserve(const Model& model, int64_t wanted) {
  if (wanted <= rows) return;
  rows = 0;  // should one of these fail, the next call gets them all
  const Widths w = widths(model);
  resize(residual, wanted, width);
  resize(query, wanted, w.query);
  resize(key, wanted, w.key);
  resize(value, wanted, w.key);
  const int64_t few = std::min(wanted, kFewRows);
  resize(up, few, w.ffn);
  resize(branch, wanted, width);
  inputs.resize(wanted, std::max(width, w.query), wanted);
  const auto& layers = model.weights().layers;
  const bool plain = std::any_of(layers.begin(), layers.end(), [](const auto& l) { return !l.down.quantized(); });
  ffn.resize(wanted, w.ffn, plain ? wanted : few);
  for (ThreadScratch& s : scratch)
    s.gate_up = AlignedBuffer(wanted > kFewRows ? static_cast<size_t>(2 * wanted * kBlock) * sizeof(float) : 0);
  const auto& ropes = model.weights().ropes;
  cosines.resize(ropes.size());
  sines.resize(ropes.size());
  for (size_t i = 0; i < ropes.size(); ++i) {
    resize(cosines[i], wanted, static_cast<int64_t>(ropes[i].size()));
    resize(sines[i], wanted, static_cast<int64_t>(ropes[i].size()));
  }
  rows = wanted;
}

// For rows up to `last_position`; grows by doubling.
void Workspace::Buffers::reserve_parts(const Model& model, int64_t n_rows, int64_t last_position) {
  int64_t floats = 0;
  for (const LayerConfig& layer : model.config().layers)
    if (layer.n_kv_heads > 0)
      floats =
          std::max(floats, layer.n_kv_heads * part_floats(n_rows * (layer.n_heads / layer.n_kv_heads), layer.head_dim));
  const auto needed = static_cast<size_t>((last_position / kChunkTokens + 1) * floats) * sizeof(float);
  if (parts.size_bytes() < needed) parts = AlignedBuffer(2 * needed);
}

void Workspace::Buffers::reserve_outputs(int64_t asked, Answers answers) {
  const auto reserve = [&](RowBuffer& values, int64_t& rows_of, int64_t columns) {
    if (asked <= rows_of) return;
    rows_of = 0;
    resize(values, asked, columns);
    rows_of = asked;
  };
  reserve(hidden, hidden_rows, width);
  if (answers != Answers::Hidden) reserve(logits, logits_rows, vocab_size);
  if (answers != Answers::Summed || asked <= summed_rows) return;
  summed_rows = 0;
  resize(maxima, asked, logit_blocks(vocab_size));
  resize(sums, asked, sum_chunks(vocab_size));
  summed_rows = asked;
}

Workspace::Workspace(const Model& model, ThreadPool& threads) : buffers_(std::make_unique<Buffers>(model, threads)) {}
Workspace::~Workspace() = default;

std::span<const float> Workspace::logits(int64_t asked_row) const {
  return answer("logits", buffers_->logits, asked_row, buffers_->answered_logits, buffers_->vocab_size);
}

std::span<const float> Workspace::hidden(int64_t asked_row) const {
  return answer("hidden states", buffers_->hidden, asked_row, buffers_->answered_hidden, buffers_->width);
}

SummedLogits Workspace::summed(int64_t asked_row) const {
  Buffers& b = *buffers_;
  const auto of = [&](RowBuffer& values, int64_t n) {
    return answer("sums of logits", values, asked_row, b.answered_sums, n);
  };
  const std::span<const float> maxima = of(b.maxima, logit_blocks(b.vocab_size));
  const float most = maximum(maxima.data(), static_cast<int64_t>(maxima.size()));
  return {logits(asked_row), log_sum_exp(most, of(b.sums, sum_chunks(b.vocab_size))), maxima};
}

ThreadPool& Workspace::threads() const {
  return buffers_->threads;
}

}  // namespace attar::runtime
