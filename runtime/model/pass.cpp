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

Forms forms_of(std::initializer_list<const Matrix*> matrices) {
  Forms forms;
  for (const Matrix* matrix : matrices) (matrix->quantized() ? forms.codes : forms.values) = true;
  return forms;
}

// residual += norm(branch, post) where a branch has a norm of its own; then norm(residual) as its consumers take it.
// -> its values, until the next
const float* Pass::Thread::norm_into(int64_t row, const std::vector<float>* post, const std::vector<float>& norm,
                                     Inputs& inputs, int64_t target, Forms forms) {
  float* out = forms.values ? inputs.values.row(target) : scratch.inputs.values.row(0);
  float* residual = pass.b_.residual.row(row);
  if (post) {
    pass.kernels_.rms_norm(pass.b_.branch.row(row), post->data(), pass.epsilon_, pass.width_, out);
    pass.kernels_.add(residual, out, pass.width_);
  }
  pass.kernels_.rms_norm(residual, norm.data(), pass.epsilon_, pass.width_, out);
  if (forms.codes) inputs.quantize(pass.kernels_, target, out, pass.width_);
  return out;
}

InputRows Pass::Thread::normed(const std::vector<float>* post, const std::vector<float>& norm, Forms forms) {
  if (prepares_all() && !post) {
    for (int64_t row = 0; row < pass.n_rows_; ++row) norm_into(row, nullptr, norm, scratch.inputs, row, forms);
    done(Operation::Norms);
    return view(scratch.inputs, pass.n_rows_);
  }
  share(pass.n_rows_, 4, [&](int64_t first, int64_t last) {
    for (int64_t row = first; row < last; ++row) norm_into(row, post, norm, pass.b_.inputs, row, forms);
  });
  meet(Operation::Norms);
  return view(pass.b_.inputs, pass.n_rows_);
}

InputRows Pass::Thread::as_inputs(RowBuffer& values, Inputs& shared, int64_t columns, bool quantize) {
  Inputs& inputs = prepares_all() ? scratch.inputs : shared;
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

// Output norm and head, for the rows that asked.
void Pass::Thread::finish() {
  const auto asked = static_cast<int64_t>(pass.asked_.size());
  if (asked == 0) return;
  Workspace::Buffers& b = pass.b_;
  const Matrix& head = pass.weights_.head;
  const std::vector<float>* post = pass.pending_norm(pass.config_.n_layers() - 1, false);
  share(asked, 1, [&](int64_t first, int64_t last) {
    for (int64_t i = first; i < last; ++i) {
      const float* values = norm_into(pass.asked_[static_cast<size_t>(i)], post, pass.weights_.output_norm, b.inputs, i,
                                      forms_of({&head}));
      std::memcpy(b.hidden.row(pass.first_asked_ + i), values, sizeof(float) * static_cast<size_t>(pass.width_));
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
