// The kernels as plain loops: the reference for the fast ones, and what runs where there is no fast one.
#include <algorithm>
#include <cmath>

#include "runtime/base/half.h"
#include "runtime/kernels/kernels.h"
#include "runtime/kernels/tile.h"

namespace attar::runtime {
namespace {

// The codes of one block, as signed numbers: value = scale * code + minimum.
void unpack_codes(const PackedMatrix& m, const uint8_t* tile, int64_t block, int8_t codes[kTileRows][kBlock]) {
  for (int r = 0; r < kTileRows; ++r)
    for (int k = 0; k < kBlock; ++k) codes[r][k] = static_cast<int8_t>(tile_code(m, tile, r, block * kBlock + k));
}

// Scales or minima of one block. -> (1 or 2, 16)
void unpack_scales(const PackedMatrix& m, const uint8_t* tile, int64_t block, bool minima, float out[2][kTileRows]) {
  const int n = traits_of(m).scales.half ? 2 : 1;
  for (int h = 0; h < n; ++h)
    for (int r = 0; r < kTileRows; ++r) out[h][r] = tile_scale(m, tile, r, block * n + h, minima);
}

int32_t dot(const int8_t* w, const int8_t* x, int64_t n) {
  int32_t sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += int32_t{w[i]} * x[i];
  return sum;
}

// One block of one tile times one activation row, onto the 16 running sums.
void accumulate(const int8_t codes[kTileRows][kBlock], const float scales[2][kTileRows],
                const float minima[2][kTileRows], const ScaleTraits& t, const int8_t* x, const BlockInfo& info,
                float sums[kTileRows]) {
  const int n = t.half ? 2 : 1;
  const int64_t width = kBlock / n;
  for (int r = 0; r < kTileRows; ++r)
    for (int h = 0; h < n; ++h) {
      const float product = static_cast<float>(dot(codes[r] + h * width, x + h * width, width));
      sums[r] += product * (scales[h][r] * info.scale);
      if (t.has_min) sums[r] += minima[h][r] * (t.half ? info.scaled_half[h] : info.scaled_sum);
    }
}

void store(const float* sums, float* to, bool add) {
  for (int r = 0; r < kTileRows; ++r) to[r] = add ? to[r] + sums[r] : sums[r];
}

float largest_magnitude(const float* x, int64_t n) {
  float largest = 0.0f;
  for (int64_t i = 0; i < n; ++i) {
    const float magnitude = std::fabs(x[i]);
    if (magnitude > largest || std::isnan(magnitude)) largest = magnitude;  // nothing is above NaN
  }
  return largest;
}

// The code of a value among others of which `largest` is the largest magnitude, and what a code of 1 is worth.
int8_t quantized(float value, float largest) {
  const bool usable = largest >= kLeastQuantized && largest <= kMostQuantized;
  return static_cast<int8_t>(usable ? std::nearbyint(value * (127.0f / largest)) : 0.0f);
}
float scale_of(float largest) {
  return largest < kLeastQuantized ? 0.0f : largest / 127.0f;  // NaN and infinity stay what they are
}

void quantize(const float* x, int64_t n, int8_t* codes, BlockInfo* blocks) {
  const int64_t n_blocks = (n + kBlock - 1) / kBlock;
  for (int64_t b = 0; b < n_blocks; ++b) {
    const int64_t used = std::min(kBlock, n - b * kBlock);
    const float largest = largest_magnitude(x + b * kBlock, used), scale = scale_of(largest);
    int32_t half[2] = {0, 0};
    for (int64_t i = 0; i < kBlock; ++i) {
      const int8_t code = i < used ? quantized(x[b * kBlock + i], largest) : int8_t{0};
      codes[b * kBlock + i] = code;
      half[i / 16] += code;
    }
    blocks[b] = {.scale = scale,
                 .minus_128_sums = -128 * (half[0] + half[1]),
                 .scaled_sum = scale * static_cast<float>(half[0] + half[1]),
                 .minus_128_half = {-128 * half[0], -128 * half[1]},
                 .scaled_half = {scale * static_cast<float>(half[0]), scale * static_cast<float>(half[1])},
                 .unused = 0};
  }
}

void gemv(const PackedMatrix& m, int64_t first, int64_t last, const int8_t* x, const BlockInfo* info,
          const Output& out) {
  const ScaleTraits& t = traits_of(m).scales;
  for (int64_t tile = first; tile < last; ++tile) {
    const uint8_t* data = m.data + tile * m.tile_bytes;
    float sums[kTileRows] = {};
    for (int64_t b = 0; b < m.n_blocks; ++b) {
      int8_t codes[kTileRows][kBlock];
      float scales[2][kTileRows], minima[2][kTileRows] = {};
      unpack_codes(m, data, b, codes);
      unpack_scales(m, data, b, false, scales);
      if (t.has_min) unpack_scales(m, data, b, true, minima);
      accumulate(codes, scales, minima, t, x + b * kBlock, info[b], sums);
    }
    store(sums, out.values + tile * kTileRows, out.add);
  }
}

// Panel of the reference: signed codes [block][row][column], scales, minima.
void skinny(const PackedMatrix& m, int64_t first, int64_t last, const QuantizedRows& x, int64_t n_rows,
            const Output& out) {
  for (int64_t row = 0; row < n_rows; ++row)
    gemv(m, first, last, x.codes + row * x.code_stride, x.blocks + row * x.n_blocks,
         {out.values + row * out.stride, out.stride, out.add});
}

void unpack(const PackedMatrix& m, int64_t tile, uint8_t* panel) {
  const ScaleTraits& t = traits_of(m).scales;
  const int n = t.half ? 2 : 1;
  const uint8_t* data = m.data + tile * m.tile_bytes;
  auto* scales = reinterpret_cast<float*>(panel + m.n_blocks * kTileRows * kBlock);
  float* minima = scales + m.n_blocks * n * kTileRows;
  for (int64_t b = 0; b < m.n_blocks; ++b) {
    unpack_codes(m, data, b, reinterpret_cast<int8_t(*)[kBlock]>(panel + b * kTileRows * kBlock));
    float values[2][kTileRows];
    unpack_scales(m, data, b, false, values);
    std::copy_n(values[0], n * kTileRows, scales + b * n * kTileRows);
    if (!t.has_min) continue;
    unpack_scales(m, data, b, true, values);
    std::copy_n(values[0], n * kTileRows, minima + b * n * kTileRows);
  }
}

void gemm(const PackedMatrix& m, const uint8_t* panels, int64_t panel_bytes, int64_t n_tiles, const QuantizedRows& x,
          int64_t n_rows, const Output& out) {
  const ScaleTraits& t = traits_of(m).scales;
  const int n = t.half ? 2 : 1;
  for (int64_t tile = 0; tile < n_tiles; ++tile) {
    const uint8_t* panel = panels + tile * panel_bytes;
    const auto* scales = reinterpret_cast<const float*>(panel + m.n_blocks * kTileRows * kBlock);
    const float* minima = t.has_min ? scales + m.n_blocks * n * kTileRows : scales;
    for (int64_t row = 0; row < n_rows; ++row) {
      float sums[kTileRows] = {};
      for (int64_t b = 0; b < m.n_blocks; ++b)
        accumulate(reinterpret_cast<const int8_t(*)[kBlock]>(panel + b * kTileRows * kBlock),
                   reinterpret_cast<const float(*)[kTileRows]>(scales + b * n * kTileRows),
                   reinterpret_cast<const float(*)[kTileRows]>(minima + b * n * kTileRows), t,
                   x.codes + row * x.code_stride + b * kBlock, x.blocks[row * x.n_blocks + b], sums);
      store(sums, out.values + row * out.stride + tile * kTileRows, out.add);
    }
  }
}

void gemm_plain(const PlainTiles& tiles, const FloatRows& x, int64_t n_rows, const Output& out) {
  for (int64_t tile = 0; tile < tiles.n_tiles; ++tile) {
    const uint8_t* data = static_cast<const uint8_t*>(tiles.data) + tile * tiles.tile_bytes;
    for (int64_t first = 0; first < n_rows; first += 8) {  // a weight is converted once for 8 rows
      const int64_t n = std::min<int64_t>(8, n_rows - first);
      float sums[8][kTileRows] = {};
      for (int64_t k = 0; k < tiles.depth; ++k) {
        float w[kTileRows];
        for (int r = 0; r < kTileRows; ++r) w[r] = tile_value(data, k * kTileRows + r, tiles.format);
        for (int64_t i = 0; i < n; ++i)
          for (int r = 0; r < kTileRows; ++r) sums[i][r] += w[r] * x.values[(first + i) * x.stride + k];
      }
      for (int64_t i = 0; i < n; ++i) store(sums[i], out.values + (first + i) * out.stride + tile * kTileRows, out.add);
    }
  }
}

void rms_norm(const float* x, const float* weight, float epsilon, int64_t n, float* out) {
  float squares = 0.0f;
  for (int64_t i = 0; i < n; ++i) squares += x[i] * x[i];
  const float inverse = 1.0f / std::sqrt(squares / static_cast<float>(n) + epsilon);
  for (int64_t i = 0; i < n; ++i) out[i] = x[i] * inverse * weight[i];
}

void rope(float* x, const float* cosines, const float* sines, int64_t half, float scale) {
  for (int64_t j = 0; j < half; ++j) {
    const float a = x[j], b = x[j + half];
    x[j] = (a * cosines[j] - b * sines[j]) * scale;
    x[j + half] = (b * cosines[j] + a * sines[j]) * scale;
  }
}

void silu_gate(float* gate, const float* up, int64_t n) {
  for (int64_t i = 0; i < n; ++i) gate[i] = gate[i] / (1.0f + std::exp(-gate[i])) * up[i];
}

void gelu_gate(float* gate, const float* up, int64_t n) {
  constexpr float kRootTwoOverPi = 0.7978845608028654f;
  for (int64_t i = 0; i < n; ++i) {
    const float g = gate[i];
    gate[i] = 0.5f * g * (1.0f + std::tanh(kRootTwoOverPi * (g + 0.044715f * g * g * g))) * up[i];
  }
}

void softmax(float* scores, int64_t begin, int64_t end, int64_t padded, float* max, float* sum) {
  float largest = scores[begin];
  for (int64_t i = begin; i < end; ++i) largest = std::max(largest, scores[i]);
  float total = 0.0f;
  for (int64_t i = 0; i < padded; ++i) {
    scores[i] = i >= begin && i < end ? std::exp(scores[i] - largest) : 0.0f;
    total += scores[i];
  }
  *max = largest;
  *sum = total;
}

void blend(float* total, float a, const float* part, float b, int64_t n) {
  for (int64_t i = 0; i < n; ++i) total[i] = a * total[i] + b * part[i];
}

void add(float* x, const float* y, int64_t n) {
  for (int64_t i = 0; i < n; ++i) x[i] += y[i];
}

void multiply(float* x, const float* y, int64_t n) {
  for (int64_t i = 0; i < n; ++i) x[i] *= y[i];
}

void to_f16(const float* x, int64_t n, uint16_t* out) {
  for (int64_t i = 0; i < n; ++i) out[i] = f32_to_f16(std::clamp(x[i], -65504.0f, 65504.0f));
}

void quantize_head(const float* x, int64_t n, int8_t* codes, HeadInfo* info) {
  const float largest = largest_magnitude(x, n);
  int32_t total = 0;
  for (int64_t i = 0; i < (n + kTileRows - 1) / kTileRows * kTileRows; ++i) {
    codes[i] = i < n ? quantized(x[i], largest) : int8_t{0};
    total += codes[i];
  }
  *info = {.scale = scale_of(largest), .minus_128_sum = -128 * total};
}

void score_codes(const CodedKeys& keys, const int8_t* queries, int64_t stride, const HeadInfo* info, int64_t n_rows,
                 const Output& scores) {
  for (int64_t position = 0; position < keys.n_tiles * kTileRows; ++position) {
    const int8_t* key = keys.codes + position / kTileRows * keys.n_quads * 64 + position % kTileRows * 4;
    for (int64_t row = 0; row < n_rows; ++row) {
      int32_t sum = 0;
      for (int64_t quad = 0; quad < keys.n_quads; ++quad)
        sum += dot(key + quad * 64, queries + row * stride + quad * 4, 4);
      scores.values[row * scores.stride + position] =
          static_cast<float>(sum) * (keys.scales[position] * info[row].scale);
    }
  }
}

}  // namespace

const Kernels& scalar_kernels() {
  static const Kernels table = {.isa = Isa::Scalar,
                                .quantize = quantize,
                                .gemv = gemv,
                                .skinny = skinny,
                                .unpack = unpack,
                                .gemm_panel_tiles = 1,
                                .gemm = gemm,
                                .gemm_plain = gemm_plain,
                                .rms_norm = rms_norm,
                                .rope = rope,
                                .silu_gate = silu_gate,
                                .gelu_gate = gelu_gate,
                                .softmax = softmax,
                                .blend = blend,
                                .add = add,
                                .multiply = multiply,
                                .to_f16 = to_f16,
                                .quantize_head = quantize_head,
                                .score_codes = score_codes,
                                .weigh_codes = gemm_plain};
  return table;
}

}  // namespace attar::runtime
