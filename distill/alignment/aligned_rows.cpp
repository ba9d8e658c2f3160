#include "distill/alignment/aligned_rows.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/index_select.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include <cassert>

#include "distill/alignment/chunk_loss.h"

namespace attar {
namespace {

TokenBatch other_batch(const TokenDataset& data, const std::vector<Piece>& pieces) {
  std::vector<int64_t> tokens, positions;
  TokenBatch batch;
  for (const Piece& piece : pieces) {
    const OtherReading& other = data.documents[static_cast<size_t>(piece.document)].other;
    if (other.tokens.empty()) continue;  // an EOS that the teacher does not have, behind a cut
    tokens.insert(tokens.end(), other.tokens.begin(), other.tokens.end());
    for (size_t i = 0; i < other.tokens.size(); ++i) positions.push_back(static_cast<int64_t>(i));
    batch.lengths.push_back(static_cast<int64_t>(other.tokens.size()));
  }
  batch.tokens = at::tensor(tokens, at::kLong);
  batch.positions = at::tensor(positions, at::kLong);
  return batch;
}

double sum_of(const double* values, int64_t begin, int64_t end) {
  double sum = 0.0;
  for (int64_t r = begin; r < end; ++r) sum += values[r];
  return sum;
}

}  // namespace

AlignedRows aligned_rows(const TokenDataset& data, const std::vector<Piece>& pieces) {
  AlignedRows out{.other = other_batch(data, pieces)};
  const int64_t n = out.other.tokens.size(0);
  out.next = at::zeros({n}, at::kLong);
  out.in_chunks = at::zeros({n}, at::kBool);
  auto* next = out.next.data_ptr<int64_t>();
  auto* in_chunks = out.in_chunks.data_ptr<bool>();
  int64_t row = 0, other_row = 0;  // of the document's first token
  for (const Piece& piece : pieces) {
    const TokenDocument& document = data.documents[static_cast<size_t>(piece.document)];
    assert(piece.begin == 0 && piece.length == static_cast<int64_t>(document.tokens.size()));
    for_each_loss_chunk(document, [&](const OtherReading::End& begin, const OtherReading::End& end) {
      out.chunks.push_back(
          {row + begin.own - 1, row + end.own - 1, other_row + begin.other - 1, other_row + end.other - 1});
      for (int64_t t = begin.other; t < end.other; ++t) {
        next[other_row + t - 1] = document.other.tokens[static_cast<size_t>(t)];
        in_chunks[other_row + t - 1] = true;
      }
    });
    row += piece.length;
    other_row += static_cast<int64_t>(document.other.tokens.size());
  }
  return out;
}

ChunkLosses chunk_losses(const std::vector<ChunkRows>& chunks, const at::Tensor& own, const at::Tensor& other,
                         double temperature) {
  ChunkLosses out{at::zeros({own.size(0)}, at::kDouble), at::zeros({own.size(0)}, at::kDouble)};
  const auto *q = own.const_data_ptr<double>(), *p = other.const_data_ptr<double>();
  auto *values = out.values.mutable_data_ptr<double>(), *slopes = out.slopes.mutable_data_ptr<double>();
  for (const ChunkRows& chunk : chunks) {
    const ChunkLoss loss =
        chunk_loss(sum_of(p, chunk.other_begin, chunk.other_end), sum_of(q, chunk.begin, chunk.end), temperature);
    values[chunk.end - 1] = loss.value;
    for (int64_t r = chunk.begin; r < chunk.end; ++r) slopes[r] = loss.slope;
  }
  return out;
}

SamePlaces at_same_places(const std::vector<ChunkRows>& chunks, const at::Tensor& x, int64_t own_rows) {
  std::vector<int64_t> own, other;
  for (const ChunkRows& chunk : chunks) own.push_back(chunk.begin), other.push_back(chunk.other_begin);
  SamePlaces out{at::zeros({own_rows, x.size(1)}, x.options()), at::zeros({own_rows}, at::kBool)};
  if (own.empty()) return out;
  const at::Tensor rows = at::tensor(own, at::kLong);
  out.rows.index_copy_(0, rows.to(x.device()), x.index_select(0, at::tensor(other, at::kLong).to(x.device())));
  out.known.index_fill_(0, rows, true);
  return out;
}

}  // namespace attar
