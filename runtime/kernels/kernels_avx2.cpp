// Kernels for AVX2 with FMA and F16C. A register of kernels_float.inc and kernels_codes.inc is a pair of 256-bit ones,
// so that lanes and the order of sums are those of AVX-512, and results too. Compiled with this instruction set's
// flags, so it includes nothing that holds inline functions of ours or of the standard library.
#include <immintrin.h>

#include <cstdint>

#include "runtime/kernels/kernels.h"

#define ATTAR_INLINE inline __attribute__((always_inline))
#define ATTAR_INLINE_LAMBDA __attribute__((always_inline))

namespace attar::runtime {
namespace {

constexpr int kLanes = 16;
constexpr int kPlainRows = 6, kPlainTiles = 1;  // 12 sums, 2 weights, 1 activation of 16 registers
constexpr int kPanelRows = 4, kPanelTiles = 1;

struct Vec {
  __m256 a, b;  // lanes 0-7 and 8-15
};
struct Ints {
  __m256i a, b;
};
using Bytes = Ints;
struct PanelBytes {
  __m256i a, b, magnitude_a, magnitude_b;
};
using Quad = __m256i;  // 4 activation codes in every lane

ATTAR_INLINE __m256i first_lanes(int64_t n) {
  const int bounded = n > 16 ? 16 : n < -16 ? -16 : static_cast<int>(n);
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(bounded), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

ATTAR_INLINE Vec zero() {
  return {_mm256_setzero_ps(), _mm256_setzero_ps()};
}
ATTAR_INLINE Vec set1(float x) {
  return {_mm256_set1_ps(x), _mm256_set1_ps(x)};
}
ATTAR_INLINE Vec load(const float* p) {
  return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)};
}
ATTAR_INLINE void store(float* p, Vec v) {
  _mm256_storeu_ps(p, v.a);
  _mm256_storeu_ps(p + 8, v.b);
}
ATTAR_INLINE Vec load_first(const float* p, int64_t n) {
  if (n >= 16) return load(p);
  return {_mm256_maskload_ps(p, first_lanes(n)), _mm256_maskload_ps(p + 8, first_lanes(n - 8))};
}
ATTAR_INLINE void store_first(float* p, Vec v, int64_t n) {
  if (n >= 16) return store(p, v);
  _mm256_maskstore_ps(p, first_lanes(n), v.a);
  _mm256_maskstore_ps(p + 8, first_lanes(n - 8), v.b);
}
ATTAR_INLINE __m128i load_half(const uint8_t* p) {
  return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
}
ATTAR_INLINE Vec load_f16(const uint8_t* p) {
  return {_mm256_cvtph_ps(load_half(p)), _mm256_cvtph_ps(load_half(p + 16))};
}
ATTAR_INLINE __m256 widen_bf16(__m128i bits) {
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(bits), 16));
}
ATTAR_INLINE Vec load_bf16(const uint8_t* p) {
  return {widen_bf16(load_half(p)), widen_bf16(load_half(p + 16))};
}
// 16 codes times 2^24: each goes to the highest byte of its lane, which is cheaper than to extend its sign.
ATTAR_INLINE Vec load_i8(const uint8_t* p) {
  const __m256i both = _mm256_broadcastsi128_si256(load_half(p));
  const __m256i first =
      _mm256_set_epi64x(0x0780808006808080, 0x0580808004808080, 0x0380808002808080, 0x0180808000808080);
  const __m256i second = _mm256_or_si256(first, _mm256_set1_epi32(0x08000000));
  return {_mm256_cvtepi32_ps(_mm256_shuffle_epi8(both, first)), _mm256_cvtepi32_ps(_mm256_shuffle_epi8(both, second))};
}
ATTAR_INLINE void store_f16(uint16_t* p, Vec v) {
  auto* to = reinterpret_cast<__m128i*>(p);
  _mm_storeu_si128(to, _mm256_cvtps_ph(v.a, _MM_FROUND_TO_NEAREST_INT));
  _mm_storeu_si128(to + 1, _mm256_cvtps_ph(v.b, _MM_FROUND_TO_NEAREST_INT));
}
ATTAR_INLINE Vec add(Vec x, Vec y) {
  return {_mm256_add_ps(x.a, y.a), _mm256_add_ps(x.b, y.b)};
}
ATTAR_INLINE Vec sub(Vec x, Vec y) {
  return {_mm256_sub_ps(x.a, y.a), _mm256_sub_ps(x.b, y.b)};
}
ATTAR_INLINE Vec mul(Vec x, Vec y) {
  return {_mm256_mul_ps(x.a, y.a), _mm256_mul_ps(x.b, y.b)};
}
ATTAR_INLINE Vec div(Vec x, Vec y) {
  return {_mm256_div_ps(x.a, y.a), _mm256_div_ps(x.b, y.b)};
}
ATTAR_INLINE Vec fma(Vec x, Vec y, Vec z) {
  return {_mm256_fmadd_ps(x.a, y.a, z.a), _mm256_fmadd_ps(x.b, y.b, z.b)};
}
ATTAR_INLINE Vec larger(Vec x, Vec y) {
  return {_mm256_max_ps(x.a, y.a), _mm256_max_ps(x.b, y.b)};
}
ATTAR_INLINE Vec smaller(Vec x, Vec y) {
  return {_mm256_min_ps(x.a, y.a), _mm256_min_ps(x.b, y.b)};
}
ATTAR_INLINE Vec nearest(Vec x) {
  constexpr int kMode = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
  return {_mm256_round_ps(x.a, kMode), _mm256_round_ps(x.b, kMode)};
}
ATTAR_INLINE __m256 shift_exponent(__m256 n) {
  const __m256i exponent = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
  return _mm256_castsi256_ps(_mm256_slli_epi32(exponent, 23));
}
ATTAR_INLINE Vec power_of_two(Vec n) {
  return {shift_exponent(n.a), shift_exponent(n.b)};
}
// Lanes begin <= lane < end of v, the others from `other`.
ATTAR_INLINE __m256 keep_half(__m256 v, int64_t begin, int64_t end, __m256 other) {
  const __m256i kept = _mm256_andnot_si256(first_lanes(begin), first_lanes(end));
  return _mm256_blendv_ps(other, v, _mm256_castsi256_ps(kept));
}
ATTAR_INLINE Vec keep_between(Vec v, int64_t begin, int64_t end, Vec other) {
  return {keep_half(v.a, begin, end, other.a), keep_half(v.b, begin - 8, end - 8, other.b)};
}
template <class Combine>
ATTAR_INLINE float fold(Vec v, Combine combine) {
  const __m128 a = combine(_mm256_castps256_ps128(v.a), _mm256_castps256_ps128(v.b));
  const __m128 b = combine(_mm256_extractf128_ps(v.a, 1), _mm256_extractf128_ps(v.b, 1));
  const __m128 c = combine(a, b);
  const __m128 d = combine(c, _mm_movehl_ps(c, c));
  return _mm_cvtss_f32(combine(d, _mm_shuffle_ps(d, d, 1)));
}
ATTAR_INLINE float sum(Vec v) {
  return fold(v, [](__m128 x, __m128 y) { return _mm_add_ps(x, y); });
}
ATTAR_INLINE float largest(Vec v) {
  return fold(v, [](__m128 x, __m128 y) { return _mm_max_ps(x, y); });
}
ATTAR_INLINE __m256i higher_magnitude(__m256 x, __m256 y) {
  const __m256 sign = _mm256_set1_ps(-0.0f);
  return _mm256_max_epi32(_mm256_castps_si256(_mm256_andnot_ps(sign, x)),
                          _mm256_castps_si256(_mm256_andnot_ps(sign, y)));
}
// Of all lanes; compared as integers, in whose order NaN lies above every number.
ATTAR_INLINE float highest_magnitude(Vec x, Vec y) {
  const Vec higher{_mm256_castsi256_ps(higher_magnitude(x.a, y.a)), _mm256_castsi256_ps(higher_magnitude(x.b, y.b))};
  return fold(higher, [](__m128 a, __m128 b) {
    return _mm_castsi128_ps(_mm_max_epi32(_mm_castps_si128(a), _mm_castps_si128(b)));
  });
}

ATTAR_INLINE __m256i load_256(const uint8_t* p) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
}
ATTAR_INLINE Bytes load_bytes(const uint8_t* p) {
  return {load_256(p), load_256(p + 32)};
}
ATTAR_INLINE Bytes load_table(const uint8_t* p) {
  const __m256i table = _mm256_broadcastsi128_si256(load_half(p));
  return {table, table};
}
ATTAR_INLINE Bytes low_nibbles(Bytes v) {
  const __m256i mask = _mm256_set1_epi8(15);
  return {_mm256_and_si256(v.a, mask), _mm256_and_si256(v.b, mask)};
}
ATTAR_INLINE Bytes high_nibbles(Bytes v) {
  return low_nibbles({_mm256_srli_epi16(v.a, 4), _mm256_srli_epi16(v.b, 4)});
}
ATTAR_INLINE Bytes look_up(Bytes table, Bytes index) {
  return {_mm256_shuffle_epi8(table.a, index.a), _mm256_shuffle_epi8(table.b, index.b)};
}
// 16 in every byte whose bit is set: each byte gets the eighth of the 32 bits that it belongs to, then tests its own.
ATTAR_INLINE __m256i sixteen_where(const uint8_t* bits) {
  int32_t word;
  __builtin_memcpy(&word, bits, 4);
  const __m256i spread = _mm256_setr_epi64x(0, 0x0101010101010101, 0x0202020202020202, 0x0303030303030303);
  const __m256i own = _mm256_set1_epi64x(static_cast<int64_t>(0x8040201008040201));
  const __m256i eighths = _mm256_shuffle_epi8(_mm256_set1_epi32(word), spread);
  return _mm256_and_si256(_mm256_cmpeq_epi8(_mm256_and_si256(eighths, own), own), _mm256_set1_epi8(16));
}
ATTAR_INLINE Bytes set_fifth_bits(Bytes v, const uint8_t* bits) {
  return {_mm256_or_si256(v.a, sixteen_where(bits)), _mm256_or_si256(v.b, sixteen_where(bits + 4))};
}
ATTAR_INLINE Vec to_float(Ints v) {
  return {_mm256_cvtepi32_ps(v.a), _mm256_cvtepi32_ps(v.b)};
}
ATTAR_INLINE Quad load_quad(const int8_t* x) {
  int32_t four;
  __builtin_memcpy(&four, x, 4);
  return _mm256_set1_epi32(four);
}

// Four signed products in each lane. |w| <= 128 and |x| <= 127, so a pair's sum stays below 2^15.
ATTAR_INLINE __m256i signed_dot(__m256i w, __m256i w_magnitude, Quad x) {
  const __m256i pairs = _mm256_maddubs_epi16(w_magnitude, _mm256_sign_epi8(x, w));
  return _mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
}

ATTAR_INLINE PanelBytes with_magnitudes(__m256i a, __m256i b) {
  return {a, b, _mm256_abs_epi8(a), _mm256_abs_epi8(b)};
}
// Panels hold signed codes.
ATTAR_INLINE PanelBytes load_panel(const uint8_t* p) {
  return with_magnitudes(load_256(p), load_256(p + 32));
}
ATTAR_INLINE PanelBytes load_signed(const int8_t* p) {
  return load_panel(reinterpret_cast<const uint8_t*>(p));
}
ATTAR_INLINE Ints panel_start(int32_t) {
  return {_mm256_setzero_si256(), _mm256_setzero_si256()};
}
ATTAR_INLINE Ints panel_dot(Ints sums, PanelBytes w, Quad x) {
  return {_mm256_add_epi32(sums.a, signed_dot(w.a, w.magnitude_a, x)),
          _mm256_add_epi32(sums.b, signed_dot(w.b, w.magnitude_b, x))};
}
template <int kBias>
ATTAR_INLINE Bytes without_bias(Bytes v) {
  const __m256i bias = _mm256_set1_epi8(static_cast<char>(kBias));
  return {_mm256_sub_epi8(v.a, bias), _mm256_sub_epi8(v.b, bias)};
}
template <int kBias>
ATTAR_INLINE void store_panel(uint8_t* p, Bytes v) {
  const Bytes codes = without_bias<kBias>(v);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), codes.a);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p + 32), codes.b);
}

// sum of (w - kBias) * x over kQuads registers of codes; `minus_128_sums` is -128 * sum of x.
template <int kBias, int kQuads>
ATTAR_INLINE Ints dot_codes(const Bytes* w, const int8_t* x, int32_t minus_128_sums) {
  if constexpr (kBias == 128) {
    Ints sums = panel_start(0);
#pragma GCC unroll 8
    for (int j = 0; j < kQuads; ++j) {
      const Bytes codes = without_bias<128>(w[j]);
      sums = panel_dot(sums, with_magnitudes(codes.a, codes.b), load_quad(x + 4 * j));
    }
    return sums;
  } else {
    // Codes below 32: four pair sums of at most 2 * 31 * 127 still fit 16 bits.
    const __m256i ones = _mm256_set1_epi16(1);
    const __m256i start = _mm256_set1_epi32(kBias == 0 ? 0 : minus_128_sums / (128 / (kBias == 0 ? 128 : kBias)));
    Ints sums = {start, start};
#pragma GCC unroll 2
    for (int j = 0; j < kQuads; j += 4) {
      __m256i a = _mm256_setzero_si256(), b = a;
#pragma GCC unroll 4
      for (int i = j; i < j + 4; ++i) {
        const Quad quad = load_quad(x + 4 * i);
        a = _mm256_add_epi16(a, _mm256_maddubs_epi16(w[i].a, quad));
        b = _mm256_add_epi16(b, _mm256_maddubs_epi16(w[i].b, quad));
      }
      sums.a = _mm256_add_epi32(sums.a, _mm256_madd_epi16(a, ones));
      sums.b = _mm256_add_epi32(sums.b, _mm256_madd_epi16(b, ones));
    }
    return sums;
  }
}

// Rounds 16 values to int8 codes; -> their sum.
ATTAR_INLINE int32_t store_codes(int8_t* p, Vec v) {
  const __m256i a = _mm256_cvtps_epi32(v.a), b = _mm256_cvtps_epi32(v.b);
  const __m256i words = _mm256_permute4x64_epi64(_mm256_packs_epi32(a, b), 0xd8);
  const __m128i bytes = _mm_packs_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), bytes);
  const __m256i both = _mm256_add_epi32(a, b);
  const __m128i four = _mm_add_epi32(_mm256_castsi256_si128(both), _mm256_extracti128_si256(both, 1));
  const __m128i two = _mm_add_epi32(four, _mm_unpackhi_epi64(four, four));
  return _mm_cvtsi128_si32(two) + _mm_extract_epi32(two, 1);
}

#include "runtime/kernels/kernels_attention.inc"
#include "runtime/kernels/kernels_codes.inc"
#include "runtime/kernels/kernels_float.inc"

constexpr Kernels kTable = table_for(Isa::Avx2);

}  // namespace

const Kernels* avx2_kernels() {
  return &kTable;
}

}  // namespace attar::runtime
