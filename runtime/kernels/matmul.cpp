#include "runtime/kernels/matmul.h"

#include <algorithm>

namespace attar::runtime {
namespace {

constexpr int64_t kPlainRowBytes = 512 << 10;  // of input rows that stay in the second-level cache

void multiply_plain(const Kernels& kernels, const PackedMatrix& m, int64_t first, int64_t last, const InputRows& x,
                    const Output& out) {
  const PlainTiles tiles = {.data = m.data + first * m.tile_bytes,
                            .tile_bytes = m.tile_bytes,
                            .n_tiles = last - first,
                            .depth = m.columns,
                            .format = m.format};
  const int64_t fitting = kPlainRowBytes / (4 * std::max<int64_t>(1, m.columns)) / 12 * 12;
  const int64_t step = std::max<int64_t>(24, fitting);
  for (int64_t row = 0; row < x.n_rows; row += step) {
    Output part = out;
    part.values += row * out.stride + first * kTileRows;
    kernels.gemm_plain(tiles, {x.values.values + row * x.values.stride, x.values.stride},
                       std::min(step, x.n_rows - row), part);
  }
}

}  // namespace

void multiply(const Kernels& kernels, const Matrix& matrix, int64_t first, int64_t last, const InputRows& x,
              const Output& out, uint8_t* panels) {
  const PackedMatrix& m = matrix.tiles;
  if (!matrix.quantized()) {
    multiply_plain(kernels, m, first, last, x, out);
    return;
  }
  if (x.n_rows == 1) return kernels.gemv(m, first, last, x.quantized.codes, x.quantized.blocks, out);
  if (x.n_rows <= kSkinnyRows) return kernels.skinny(m, first, last, x.quantized, x.n_rows, out);
  const ScaleTraits& t = kTileTraits[static_cast<int>(m.format)].scales;
  const int64_t scale_sets = (t.half ? 2 : 1) * (t.has_min ? 2 : 1);
  const int64_t panel_bytes = m.n_blocks * (kTileRows * kBlock + scale_sets * kTileRows * 4);
  for (int64_t tile = first; tile < last; tile += kernels.gemm_panel_tiles) {
    const int64_t n = std::min(kernels.gemm_panel_tiles, last - tile);
    for (int64_t i = 0; i < n; ++i) kernels.unpack(m, tile + i, panels + i * panel_bytes);
    Output part = out;
    part.values += tile * kTileRows;
    kernels.gemm(m, panels, panel_bytes, n, x.quantized, x.n_rows, part);
  }
}

}  // namespace attar::runtime
