// From a stored tensor to tiles (layouts: kernels.h), and back.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "runtime/base/aligned_buffer.h"
#include "runtime/base/host/thread_pool.h"
#include "runtime/formats/model_file.h"
#include "runtime/formats/numerics.h"
#include "runtime/kernels/kernels.h"

namespace attar::runtime {

// A packed matrix, and its memory where that is its own.
struct Matrix {
  PackedMatrix tiles;
  AlignedBuffer memory{};

  bool quantized() const { return kTileTraits[static_cast<int>(tiles.format)].codes.kind != CodeKind::Plain; }
  int64_t rows() const { return tiles.rows; }
  int64_t padded_rows() const { return tiles.n_tiles * kTileRows; }
};

// The tiles that hold a type in a mode; `decoded` is set when a quantized type has no integer tile and its decoded
// values are kept instead.
TileFormat tile_format_for(TensorType type, Numerics numerics, bool* decoded);

// Row r of the result is row source_rows[r] of the tensor; empty: in order. Error{Input} naming `name` when a value or
// a scale is not finite.
Matrix pack(const StoredTensor& tensor, const std::string& name, Numerics numerics,
            std::span<const int64_t> source_rows, ThreadPool& threads);

// The arguments of pack() for one of many.
struct StoredMatrix {
  const StoredTensor* tensor = nullptr;
  std::string name{};
  Numerics numerics = Numerics::Deployed;
  std::vector<int64_t> source_rows{};  // (rows), or empty
  // packed_bytes() of zeros, aligned to 64, which outlive the matrix; nullptr: it has memory of its own.
  uint8_t* place = nullptr;
};

// Many at once, which share the threads. -> in the same order. Of several errors that of the first matrix, there of the
// first row.
std::vector<Matrix> pack_all(std::span<const StoredMatrix> stored, ThreadPool& threads);

// What a packed matrix of this type takes, in bytes.
int64_t packed_bytes(TensorType type, int64_t rows, int64_t columns, Numerics numerics);

// Row `row` of a packed matrix: the values of the stored one, exactly. -> (columns)
void unpack_row(const Matrix& matrix, int64_t row, float* values);

}  // namespace attar::runtime
