// The chunks of a batch: which rows of the student and which of the teacher predict their tokens, and what they teach.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "compress/token_dataset.h"

namespace attar {

// Rows [begin, end) of the student predict a chunk's tokens, rows [other_begin, other_end) of the teacher.
struct ChunkRows {
  int64_t begin = 0, end = 0, other_begin = 0, other_end = 0;
};
struct AlignedRows {
  TokenBatch other{};               // the teacher's tokens of the pieces
  at::Tensor next{}, in_chunks{};   // (No) int64, bool: what its rows predict, and which of them a chunk asks for
  std::vector<ChunkRows> chunks{};  // of the loss, whole
};
// Pieces are whole documents, with a reading of the teacher.
AlignedRows aligned_rows(const TokenDataset& data, const std::vector<Piece>& pieces);

// What chunks teach, by the student's rows (N) f64: the loss of a chunk at its last row, and its slope by the
// log-probability of the next token at all of its rows.
struct ChunkLosses {
  at::Tensor values{}, slopes{};
};
// From log-probabilities of the next token in each row, (N) and (No) f64.
ChunkLosses chunk_losses(const std::vector<ChunkRows>& chunks, const at::Tensor& own, const at::Tensor& other,
                         double temperature);

// Rows of the teacher beside the student's that predict from the same place in the text: x (No, C) -> (N, C), zeros
// where there is none, and which those are not, (N) bool.
struct SamePlaces {
  at::Tensor rows{}, known{};
};
SamePlaces at_same_places(const std::vector<ChunkRows>& chunks, const at::Tensor& x, int64_t own_rows);

}  // namespace attar
