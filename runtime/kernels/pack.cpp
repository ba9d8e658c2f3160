#include "runtime/kernels/pack.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "runtime/base/error.h"
#include "runtime/base/half.h"
#include "runtime/kernels/codes.h"

namespace attar::runtime {
namespace {

const uint8_t* row_bytes(const StoredTensor& tensor, int64_t row) {
  return reinterpret_cast<const uint8_t*>(tensor.bytes.data()) +
         row * format_of(tensor.type).row_bytes(tensor.shape.back());
}

[[noreturn]] void refuse_value(const std::string& name, int64_t row) {
  throw input_error(name, "a weight is not a finite number", "finite values",
                    "NaN or infinity in row " + std::to_string(row), "the file is damaged or its training diverged");
}

void lay_out(PackedMatrix& m) {
  const TileTraits& t = kTileTraits[static_cast<int>(m.format)];
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
  const TileTraits& t = kTileTraits[static_cast<int>(m.format)];
  const int bias = t.code_bits == 8 ? 128 : t.has_min ? 0 : t.code_bits == 4 ? 8 : 16;
  uint8_t biased[kBlock];
  if (t.table) {
    for (int k = 0; k < kBlock; ++k) biased[k] = index_of[static_cast<uint8_t>(codes[k])];
  } else {
    for (int k = 0; k < kBlock; ++k) biased[k] = static_cast<uint8_t>(codes[k] + bias);
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

void pack_codes(const StoredTensor& tensor, const std::string& name, const CodeFormat& format, const PackedMatrix& m,
                int64_t source_row, int64_t row, uint8_t* tile) {
  const TileTraits& t = kTileTraits[static_cast<int>(m.format)];
  uint8_t index_of[256] = {};
  for (int i = 15; t.table && i >= 0; --i) index_of[static_cast<uint8_t>(format.table[i])] = static_cast<uint8_t>(i);
  const uint8_t* bytes = row_bytes(tensor, source_row);
  const int halves = t.half ? 2 : 1;
  const auto lane = static_cast<int>(row % kTileRows);
  for (int64_t b = 0; b < m.n_blocks; ++b) {
    CodeBlock block;
    format.read(bytes, b, &block);
    write_codes(m, block.codes, index_of, lane, tile + b * t.code_bits * 64);
    for (int h = 0; h < halves; ++h) {
      if (!std::isfinite(block.scale[h]) || !std::isfinite(block.minimum[h])) refuse_value(name, source_row);
      const int64_t index = (b * halves + h) * kTileRows + lane;
      write_scale(tile, m.scales_offset, index, t.scale_bytes, block.scale[h]);
      if (t.has_min) write_scale(tile, m.minima_offset, index, t.scale_bytes, block.minimum[h]);
    }
  }
}

void pack_plain(const StoredTensor& tensor, const std::string& name, const PackedMatrix& m, int64_t source_row,
                int64_t row, float* values, uint8_t* tile) {
  decode_row(tensor, source_row, values);
  const auto lane = static_cast<int>(row % kTileRows);
  const uint8_t* bytes = row_bytes(tensor, source_row);
  for (int64_t k = 0; k < m.columns; ++k) {
    if (!std::isfinite(values[k])) refuse_value(name, source_row);
    const int64_t index = k * kTileRows + lane;
    if (m.format == TileFormat::F32)
      std::memcpy(tile + index * 4, &values[k], 4);
    else
      std::memcpy(tile + index * 2, bytes + k * 2, 2);
  }
}

}  // namespace

void decode_row(const StoredTensor& tensor, int64_t row, float* values) {
  const QuantFormat& format = format_of(tensor.type);
  format.decode(reinterpret_cast<const std::byte*>(row_bytes(tensor, row)), tensor.shape.back() / format.block_size,
                values);
}

TileFormat tile_format_for(TensorType type, Numerics numerics, bool* decoded) {
  *decoded = false;
  if (type == TensorType::F16) return TileFormat::F16;
  if (type == TensorType::BF16) return TileFormat::BF16;
  if (numerics == Numerics::Fp32 || type == TensorType::F32) return TileFormat::F32;
  if (const CodeFormat* format = find_code_format(type)) return format->tile;
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
  const CodeFormat* format = matrix.quantized() ? find_code_format(tensor.type) : nullptr;
  if (format && format->table)
    for (int i = 0; i < 16; ++i) m.table[i] = static_cast<uint8_t>(format->table[i] + 128);

  threads.run([&](int thread) {
    std::vector<float> values(format ? 0 : static_cast<size_t>(m.columns));
    const int64_t first = m.n_tiles * thread / threads.size(), last = m.n_tiles * (thread + 1) / threads.size();
    for (int64_t row = first * kTileRows; row < std::min(last * kTileRows, m.rows); ++row) {
      const int64_t source = source_rows.empty() ? row : source_rows[static_cast<size_t>(row)];
      uint8_t* tile = matrix.memory.as<uint8_t>() + row / kTileRows * m.tile_bytes;
      if (format)
        pack_codes(tensor, name, *format, m, source, row, tile);
      else
        pack_plain(tensor, name, m, source, row, values.data(), tile);
    }
  });
  return matrix;
}

}  // namespace attar::runtime
