#include "runtime/kernels/pack.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <deque>
#include <exception>
#include <mutex>
#include <optional>
#include <utility>

#include "runtime/base/error.h"
#include "runtime/formats/blocks/blocks.h"
#include "runtime/kernels/tile.h"
#include "runtime/kernels/tile_writer.h"

namespace attar::runtime {
namespace {

// Types that a tile holds without loss; the others are kept as decoded values.
constexpr struct {
  TensorType type;
  TileFormat tile;
} kTiles[] = {
    {TensorType::Q4_0, TileFormat::Q4_0},       {TensorType::Q4_1, TileFormat::Q4_1},
    {TensorType::Q4_K, TileFormat::Q4_K},       {TensorType::IQ4_NL, TileFormat::IQ4_NL},
    {TensorType::IQ4_XS, TileFormat::IQ4_XS},   {TensorType::MXFP4, TileFormat::MXFP4},
    {TensorType::NVFP4, TileFormat::NVFP4},     {TensorType::Q5_0, TileFormat::Q5_0},
    {TensorType::Q5_1, TileFormat::Q5_1},       {TensorType::Q5_K, TileFormat::Q5_K},
    {TensorType::Q6_K, TileFormat::Q6_K},       {TensorType::Q8_0, TileFormat::Q8_0},
    {TensorType::Q3_K, TileFormat::Q3_K},       {TensorType::Q2_K, TileFormat::Q2_K},
    {TensorType::Q2_0, TileFormat::Q2_0},       {TensorType::TQ2_0, TileFormat::TQ2_0},
    {TensorType::TQ1_0, TileFormat::TQ1_0},     {TensorType::Q1_0, TileFormat::Q1_0},
    {TensorType::IQ3_S, TileFormat::IQ3_S},     {TensorType::IQ3_XXS, TileFormat::IQ3_XXS},
    {TensorType::IQ2_S, TileFormat::IQ2_S},     {TensorType::IQ2_XS, TileFormat::IQ2_XS},
    {TensorType::IQ2_XXS, TileFormat::IQ2_XXS}, {TensorType::IQ1_M, TileFormat::IQ1_M},
    {TensorType::IQ1_S, TileFormat::IQ1_S},
};

constexpr int64_t kReadBytes = 256 << 10;       // of a file at once: they stay in the second-level cache
constexpr size_t kKeptBytes = size_t{1} << 20;  // a thread's own: one tile of a wide matrix may have more

PackedMatrix lay_out(TileFormat format, int64_t rows, int64_t columns) {
  PackedMatrix m;
  m.format = format, m.rows = rows, m.columns = columns;
  const TileTraits& t = traits_of(m);
  m.n_tiles = (m.rows + kTileRows - 1) / kTileRows;
  m.n_blocks = (m.columns + kBlock - 1) / kBlock;
  m.scales_offset = m.n_blocks * layout_of(m).code_bytes;
  if (t.codes.kind == CodeKind::Plain)
    m.tile_bytes = m.columns * kTileRows * t.codes.bits / 8;
  else
    m.tile_bytes = m.scales_offset + m.n_blocks / t.scales.blocks * layout_of(m).scale_bytes;
  m.tile_bytes = (m.tile_bytes + 63) / 64 * 64;
  return m;
}

// What the kernels look codes up in.
void set_tables(PackedMatrix& m, const QuantFormat& stored) {
  const CodeTraits& c = traits_of(m).codes;
  for (int i = 0; c.kind == CodeKind::Indices && i < 16; ++i)
    m.table[i] = static_cast<uint8_t>(stored.codes->table[i] + c.bias);
  if (c.kind == CodeKind::Points) m.grid = grid_of(*stored.lattice, c.bias);
}

// Brings stored rows into the tiles of one matrix.
class RowPacker {
 public:
  RowPacker(const PackedMatrix& m, const StoredTensor& tensor) : m_(m), stored_(format_of(tensor.type)) {
    if (traits_of(m).codes.kind == CodeKind::Plain)
      values_.resize(static_cast<size_t>(m.columns));
    else
      codes_.emplace(m, stored_);
  }

  // `rows` are the bytes of the tile's first rows. -> the first that has a weight that is not finite, or -1
  int write(std::span<const std::byte* const> rows, uint8_t* tile) {
    if (codes_) return codes_->write(rows, tile);
    if (m_.format != TileFormat::F32) return write_halves(rows, tile);
    for (size_t lane = 0; lane < rows.size(); ++lane)
      if (!write_values(rows[lane], static_cast<int>(lane), tile)) return static_cast<int>(lane);
    return -1;
  }

 private:
  bool write_values(const std::byte* bytes, int lane, uint8_t* tile) {
    stored_.decode(bytes, m_.columns / stored_.block_size, values_.data());
    for (int64_t k = 0; k < m_.columns; ++k) {
      if (!std::isfinite(values_[static_cast<size_t>(k)])) return false;
      std::memcpy(tile + (k * kTileRows + lane) * 4, &values_[static_cast<size_t>(k)], 4);
    }
    return true;
  }

  // F16 and BF16 stay what they are.
  int write_halves(std::span<const std::byte* const> rows, uint8_t* tile) const {
    const unsigned exponent = m_.format == TileFormat::F16 ? 0x7c00 : 0x7f80;  // all ones: infinity, NaN
    bool not_finite[kTileRows] = {};
    for (int64_t k = 0; k < m_.columns; ++k, tile += 2 * kTileRows)
      for (size_t lane = 0; lane < rows.size(); ++lane) {
        const uint16_t bits = blocks::u16_at(rows[lane], 2 * k);
        std::memcpy(tile + 2 * lane, &bits, sizeof bits);
        not_finite[lane] |= (bits & exponent) == exponent;
      }
    const bool* bad = std::find(not_finite, not_finite + rows.size(), true);
    return bad == not_finite + rows.size() ? -1 : static_cast<int>(bad - not_finite);
  }

  const PackedMatrix& m_;
  const QuantFormat& stored_;
  std::optional<TileWriter> codes_;  // plain tiles have none
  std::vector<float> values_;        // (columns) of a plain row
};

// The stored rows that become rows [first, last): all that lie between them in the file, read at once.
struct SourceRows {
  SourceRows(std::span<const int64_t> source_rows, int64_t first, int64_t last) : begin(first), end(last) {
    if (source_rows.empty()) return;
    const auto part = source_rows.subspan(static_cast<size_t>(first), static_cast<size_t>(last - first));
    begin = *std::min_element(part.begin(), part.end());
    end = *std::max_element(part.begin(), part.end()) + 1;
  }
  int64_t begin, end;
};

// Tiles [first, last) of a matrix: what a thread reads at once.
struct Part {
  size_t matrix;
  int64_t first, last;
  uint8_t* tiles;  // of the whole matrix
};

// Packs parts of matrices, one after the other: what a thread keeps between them.
class PartPacker {
 public:
  PartPacker(std::span<const StoredMatrix> stored, std::span<const Matrix> packed, size_t most_bytes)
      : stored_(stored), packed_(packed) {
    buffer_.reserve(std::min(most_bytes, kKeptBytes));  // not on the thread that reads, whose own heap would keep it
  }

  void pack(const Part& part) {
    const StoredMatrix& stored = stored_[part.matrix];
    const PackedMatrix& m = packed_[part.matrix].tiles;
    if (!rows_ || matrix_ != part.matrix) rows_.emplace(m, *stored.tensor);
    matrix_ = part.matrix;
    const int64_t row_bytes = format_of(stored.tensor->type).row_bytes(m.columns);
    const int64_t first_row = part.first * kTileRows, last_row = std::min(part.last * kTileRows, m.rows);
    const SourceRows sources(stored.source_rows, first_row, last_row);
    const LazyBytes lazy = stored.tensor->bytes.subspan(static_cast<size_t>(sources.begin * row_bytes),
                                                        static_cast<size_t>((sources.end - sources.begin) * row_bytes));
    const std::span<const std::byte> bytes = lazy.read(buffer_);
    const auto source_of = [&](int64_t row) {
      return stored.source_rows.empty() ? row : stored.source_rows[static_cast<size_t>(row)];
    };
    for (int64_t row = first_row; row < last_row; row += kTileRows) {
      const std::byte* rows[kTileRows];
      const auto n_rows = static_cast<size_t>(std::min(kTileRows, last_row - row));
      for (size_t lane = 0; lane < n_rows; ++lane)
        rows[lane] = bytes.data() + (source_of(row + static_cast<int64_t>(lane)) - sources.begin) * row_bytes;
      const int bad = rows_->write({rows, n_rows}, part.tiles + row / kTileRows * m.tile_bytes);
      if (bad >= 0)
        throw input_error(stored.name, "a weight is not a finite number", "finite values",
                          "NaN or infinity in row " + std::to_string(source_of(row + bad)),
                          "the file is damaged or its training diverged");
    }
  }

 private:
  std::span<const StoredMatrix> stored_;
  std::span<const Matrix> packed_;
  size_t matrix_ = 0;              // that rows_ is for
  std::optional<RowPacker> rows_;  // none before the first part
  std::vector<std::byte> buffer_;
};

Matrix laid_out(const StoredMatrix& stored) {
  bool decoded = false;
  const StoredTensor& tensor = *stored.tensor;
  Matrix matrix;
  matrix.tiles = lay_out(tile_format_for(tensor.type, stored.numerics, &decoded), tensor.shape[0], tensor.shape[1]);
  set_tables(matrix.tiles, format_of(tensor.type));
  if (stored.place == nullptr)
    matrix.memory = AlignedBuffer(static_cast<size_t>(matrix.tiles.tile_bytes * matrix.tiles.n_tiles));
  return matrix;
}

}  // namespace

TileFormat tile_format_for(TensorType type, Numerics numerics, bool* decoded) {
  *decoded = false;
  if (type == TensorType::F16) return TileFormat::F16;
  if (type == TensorType::BF16) return TileFormat::BF16;
  if (numerics == Numerics::Fp32 || type == TensorType::F32) return TileFormat::F32;
  for (const auto& row : kTiles)
    if (row.type == type) return row.tile;
  *decoded = true;
  return TileFormat::F32;
}

int64_t packed_bytes(TensorType type, int64_t rows, int64_t columns, Numerics numerics) {
  bool decoded = false;
  const PackedMatrix m = lay_out(tile_format_for(type, numerics, &decoded), rows, columns);
  return m.n_tiles * m.tile_bytes;
}

Matrix pack(const StoredTensor& tensor, const std::string& name, Numerics numerics,
            std::span<const int64_t> source_rows, ThreadPool& threads) {
  const StoredMatrix stored{&tensor, name, numerics, {source_rows.begin(), source_rows.end()}, nullptr};
  return std::move(pack_all({&stored, 1}, threads).front());
}

// Every thread takes the first part that is left: none waits for one that the system lets run late. So whatever lies
// before a part that fails has been taken too, and is brought to its end: the first error is always the same.
std::vector<Matrix> pack_all(std::span<const StoredMatrix> stored, ThreadPool& threads) {
  std::vector<Matrix> packed;
  std::vector<Part> parts;
  size_t most_bytes = 0;  // of a part in its file, but where rows are taken in another order
  packed.reserve(stored.size());
  for (size_t i = 0; i < stored.size(); ++i) {
    PackedMatrix& m = packed.emplace_back(laid_out(stored[i])).tiles;
    uint8_t* tiles = stored[i].place != nullptr ? stored[i].place : packed.back().memory.as<uint8_t>();
    m.data = tiles;
    const int64_t tile_bytes = kTileRows * format_of(stored[i].tensor->type).row_bytes(m.columns);
    const int64_t at_once = std::max<int64_t>(1, kReadBytes / tile_bytes);
    most_bytes = std::max(most_bytes, static_cast<size_t>(std::min(at_once, m.n_tiles) * tile_bytes));
    for (int64_t tile = 0; tile < m.n_tiles; tile += at_once)
      parts.push_back({i, tile, std::min(tile + at_once, m.n_tiles), tiles});
  }

  std::deque<PartPacker> packers;
  for (int i = 0; i < threads.size(); ++i) packers.emplace_back(stored, packed, most_bytes);
  std::atomic<size_t> next{0};
  std::mutex failing;
  size_t failed = parts.size();
  std::exception_ptr error;  // of the part `failed`
  threads.run([&](int thread) {
    PartPacker& packer = packers[static_cast<size_t>(thread)];
    for (size_t i = next.fetch_add(1); i < parts.size(); i = next.fetch_add(1)) {
      try {
        packer.pack(parts[i]);
      } catch (...) {
        const std::lock_guard lock(failing);
        next.store(parts.size());  // nobody begins another
        if (i < failed) failed = i, error = std::current_exception();
      }
    }
  });
  if (error) std::rethrow_exception(error);
  return packed;
}

void unpack_row(const Matrix& matrix, int64_t row, float* values) {
  const PackedMatrix& m = matrix.tiles;
  const ScaleTraits& s = traits_of(m).scales;
  const uint8_t* tile = m.data + row / kTileRows * m.tile_bytes;
  const auto lane = static_cast<int>(row % kTileRows);
  if (!matrix.quantized()) {
    for (int64_t k = 0; k < m.columns; ++k) values[k] = tile_value(tile, k * kTileRows + lane, m.format);
    return;
  }
  const int64_t width = s.half ? kBlock / 2 : kBlock;  // columns that share a scale
  for (int64_t first = 0; first < m.columns; first += width) {
    const float scale = tile_scale(m, tile, lane, first / width);
    const float minimum = s.has_min ? tile_scale(m, tile, lane, first / width, true) : 0.0f;
    for (int64_t k = first; k < std::min(first + width, m.columns); ++k)
      values[k] = scale * static_cast<float>(tile_code(m, tile, lane, k)) + minimum;
  }
}

}  // namespace attar::runtime
