#include "runtime/kernels/pack.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "runtime/base/error.h"
#include "runtime/base/half.h"
#include "runtime/kernels/tile.h"

namespace attar::runtime {
namespace {

// Types whose codes a tile holds without loss; the others are kept as decoded values.
constexpr struct {
  TensorType type;
  TileFormat tile;
} kTiles[] = {
    {TensorType::Q4_0, TileFormat::U4},          {TensorType::Q4_1, TileFormat::U4Min},
    {TensorType::Q4_K, TileFormat::U4Min32},     {TensorType::IQ4_NL, TileFormat::Table4},
    {TensorType::IQ4_XS, TileFormat::Table4_32}, {TensorType::MXFP4, TileFormat::Table4_32},
    {TensorType::Q5_0, TileFormat::U5},          {TensorType::Q5_1, TileFormat::U5Min},
    {TensorType::Q5_K, TileFormat::U5Min32},     {TensorType::Q8_0, TileFormat::I8},
    {TensorType::TQ1_0, TileFormat::I8_32},      {TensorType::TQ2_0, TileFormat::I8_32},
    {TensorType::Q2_0, TileFormat::I8_32},       {TensorType::Q1_0, TileFormat::I8_32},
    {TensorType::Q6_K, TileFormat::I8Half},      {TensorType::Q3_K, TileFormat::I8Half},
    {TensorType::NVFP4, TileFormat::I8Half},     {TensorType::Q2_K, TileFormat::I8HalfMin},
};

constexpr int64_t kReadBytes = 256 << 10;  // of a file at once: they stay in the second-level cache

void lay_out(PackedMatrix& m) {
  const TileTraits& t = traits_of(m);
  if (t.scale_bytes == 0) {
    m.tile_bytes = m.columns * kTileRows * t.code_bits / 8;
  } else {
    const int64_t scales = m.n_blocks * (t.half ? 2 : 1) * kTileRows * t.scale_bytes;
    m.scales_offset = m.n_blocks * t.code_bits * 64;
    m.minima_offset = m.scales_offset + scales;
    m.tile_bytes = m.minima_offset + (t.has_min ? scales : 0);
  }
  m.tile_bytes = (m.tile_bytes + 63) / 64 * 64;
}

uint32_t four(const uint8_t* bytes) {
  uint32_t word;
  std::memcpy(&word, bytes, 4);
  return word;
}

// Writes the codes of one row of one block into its tile; four columns make a lane of a register.
void write_codes(const PackedMatrix& m, const int8_t* codes, const uint8_t* index_of, int row, uint8_t* block) {
  const TileTraits& t = traits_of(m);
  uint8_t biased[kBlock];
  if (t.table) {
    for (int k = 0; k < kBlock; ++k) biased[k] = index_of[static_cast<uint8_t>(codes[k])];
  } else {
    for (int k = 0; k < kBlock; ++k) biased[k] = static_cast<uint8_t>(codes[k] + t.bias);
  }
  if (t.code_bits == 8) {
    for (int j = 0; j < 8; ++j) std::memcpy(block + 64 * j + 4 * row, biased + 4 * j, 4);
    return;
  }
  for (int j = 0; j < 4; ++j) {
    const uint32_t low = four(biased + 8 * j), high = four(biased + 8 * j + 4);
    const uint32_t nibbles = (low & 0x0f0f0f0f) | (high & 0x0f0f0f0f) << 4;
    std::memcpy(block + 64 * j + 4 * row, &nibbles, 4);
  }
  for (int k = 0; t.code_bits == 5 && k < kBlock; ++k) {
    const int bit = 4 * row + k % 4;
    block[256 + k / 4 * 8 + bit / 8] |= static_cast<uint8_t>((biased[k] >> 4) << (bit % 8));
  }
}

void write_scale(uint8_t* tile, int64_t offset, int64_t index, int scale_bytes, float value) {
  if (scale_bytes == 2) {
    const uint16_t h = f32_to_f16(value);  // exact: it came from an f16
    std::memcpy(tile + offset + index * 2, &h, 2);
  } else {
    std::memcpy(tile + offset + index * 4, &value, 4);
  }
}

// Codes that a scale near the largest f32 would carry past it (MXFP4's exponent goes that far).
bool overflows(const CodeBlock& block) {
  constexpr float kSafe = 1e30f;  // times 128, and a minimum added: finite
  for (int h = 0; h < 2; ++h) {
    if (std::fabs(block.scale[h]) < kSafe && std::fabs(block.minimum[h]) < kSafe) continue;
    for (int k = 16 * h; k < 16 * h + 16; ++k)
      if (!std::isfinite(block.scale[h] * static_cast<float>(block.codes[k]) + block.minimum[h])) return true;
  }
  return false;
}

// Brings stored rows into the tiles of one matrix.
class RowPacker {
 public:
  RowPacker(const PackedMatrix& m, const StoredTensor& tensor, const std::string& name)
      : m_(m), stored_(format_of(tensor.type)), name_(name) {
    if (traits_of(m).scale_bytes == 0) {
      values_.resize(static_cast<size_t>(m.columns));
      return;
    }
    codes_ = stored_.codes;
    for (int i = 15; codes_->table && i >= 0; --i)
      index_of_[static_cast<uint8_t>(codes_->table[i])] = static_cast<uint8_t>(i);
  }

  // `bytes` are those of row `source` of the tensor; `lane` is the row's place in the tile.
  void write(const std::byte* bytes, int64_t source, int lane, uint8_t* tile) {
    const bool finite = codes_ ? write_codes_of(bytes, lane, tile) : write_values(bytes, lane, tile);
    if (!finite)
      throw input_error(name_, "a weight is not a finite number", "finite values",
                        "NaN or infinity in row " + std::to_string(source),
                        "the file is damaged or its training diverged");
  }

 private:
  bool write_codes_of(const std::byte* bytes, int lane, uint8_t* tile) const {
    const TileTraits& t = kTileTraits[static_cast<int>(m_.format)];
    const int halves = t.half ? 2 : 1;
    for (int64_t b = 0; b < m_.n_blocks; ++b) {
      CodeBlock block;
      codes_->read(bytes, b, &block);
      if (overflows(block)) return false;
      write_codes(m_, block.codes, index_of_, lane, tile + b * t.code_bits * 64);
      for (int h = 0; h < halves; ++h) {
        const int64_t index = (b * halves + h) * kTileRows + lane;
        write_scale(tile, m_.scales_offset, index, t.scale_bytes, block.scale[h]);
        if (t.has_min) write_scale(tile, m_.minima_offset, index, t.scale_bytes, block.minimum[h]);
      }
    }
    return true;
  }

  bool write_values(const std::byte* bytes, int lane, uint8_t* tile) {
    stored_.decode(bytes, m_.columns / stored_.block_size, values_.data());
    for (int64_t k = 0; k < m_.columns; ++k) {
      if (!std::isfinite(values_[static_cast<size_t>(k)])) return false;
      const int64_t index = k * kTileRows + lane;
      if (m_.format == TileFormat::F32)
        std::memcpy(tile + index * 4, &values_[static_cast<size_t>(k)], 4);
      else
        std::memcpy(tile + index * 2, bytes + k * 2, 2);
    }
    return true;
  }

  const PackedMatrix& m_;
  const QuantFormat& stored_;
  const BlockCodes* codes_ = nullptr;  // plain tiles have none
  const std::string& name_;
  uint8_t index_of_[256] = {};  // of a value in the table
  std::vector<float> values_;   // (columns) of a plain row
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

Matrix pack(const StoredTensor& tensor, const std::string& name, Numerics numerics,
            std::span<const int64_t> source_rows, ThreadPool& threads) {
  bool decoded = false;
  Matrix matrix;
  PackedMatrix& m = matrix.tiles;
  m.format = tile_format_for(tensor.type, numerics, &decoded);
  m.rows = tensor.shape[0];
  m.columns = tensor.shape[1];
  m.n_tiles = (m.rows + kTileRows - 1) / kTileRows;
  m.n_blocks = (m.columns + kBlock - 1) / kBlock;
  lay_out(m);
  matrix.memory = AlignedBuffer(static_cast<size_t>(m.tile_bytes * m.n_tiles));
  m.data = matrix.memory.as<uint8_t>();
  if (const BlockCodes* codes = format_of(tensor.type).codes; matrix.quantized() && codes->table)
    for (int i = 0; i < 16; ++i) m.table[i] = static_cast<uint8_t>(codes->table[i] + 128);

  const int64_t row_bytes = format_of(tensor.type).row_bytes(m.columns);
  const int64_t tiles_at_once = std::max<int64_t>(1, kReadBytes / (kTileRows * row_bytes));
  threads.run([&](int thread) {
    RowPacker packer(m, tensor, name);
    std::vector<std::byte> buffer;
    const int64_t last = m.n_tiles * (thread + 1) / threads.size();
    for (int64_t tile = m.n_tiles * thread / threads.size(); tile < last; tile += tiles_at_once) {
      const int64_t first_row = tile * kTileRows;
      const int64_t last_row = std::min(std::min(tile + tiles_at_once, last) * kTileRows, m.rows);
      const SourceRows sources(source_rows, first_row, last_row);
      const std::span<const std::byte> bytes =
          tensor.bytes
              .subspan(static_cast<size_t>(sources.begin * row_bytes),
                       static_cast<size_t>((sources.end - sources.begin) * row_bytes))
              .read(buffer);
      for (int64_t row = first_row; row < last_row; ++row) {
        const int64_t source = source_rows.empty() ? row : source_rows[static_cast<size_t>(row)];
        packer.write(bytes.data() + (source - sources.begin) * row_bytes, source, static_cast<int>(row % kTileRows),
                     matrix.memory.as<uint8_t>() + row / kTileRows * m.tile_bytes);
      }
    }
  });
  return matrix;
}

void unpack_row(const Matrix& matrix, int64_t row, float* values) {
  const PackedMatrix& m = matrix.tiles;
  const TileTraits& t = traits_of(m);
  const uint8_t* tile = m.data + row / kTileRows * m.tile_bytes;
  const auto lane = static_cast<int>(row % kTileRows);
  if (!matrix.quantized()) {
    for (int64_t k = 0; k < m.columns; ++k) values[k] = tile_value(tile, k * kTileRows + lane, m.format);
    return;
  }
  const int64_t width = t.half ? kBlock / 2 : kBlock;  // columns that share a scale
  for (int64_t first = 0; first < m.columns; first += width) {
    const int64_t index = first / width * kTileRows + lane;
    const float scale = tile_scale(tile + m.scales_offset, index, t);
    const float minimum = t.has_min ? tile_scale(tile + m.minima_offset, index, t) : 0.0f;
    const uint8_t* block = tile + first / kBlock * t.code_bits * 64;
    for (int64_t k = first; k < std::min(first + width, m.columns); ++k)
      values[k] = scale * static_cast<float>(tile_code(m, block, lane, static_cast<int>(k % kBlock))) + minimum;
  }
}

}  // namespace attar::runtime
