// Kernels for AVX-512 (F, BW, DQ, VL) with VNNI: Cascade Lake and newer, without VBMI or BF16.
// The registers and their operations; the loops over them are in kernels_float.inc and kernels_codes.inc. Compiled with
// this instruction set's flags, so it includes nothing that holds inline functions of ours or of the standard library.
#include <immintrin.h>

#include <cstdint>

#include "runtime/kernels/kernels.h"

#define ATTAR_INLINE inline __attribute__((always_inline))
#define ATTAR_INLINE_LAMBDA __attribute__((always_inline))

namespace attar::runtime {
namespace {

#include "runtime/kernels/kernels_x86.inc"

constexpr int kLanes = 16;
constexpr int kPlainRows = 12, kPlainTiles = 2;  // 24 sums, 2 weights, 1 activation of 32 registers
constexpr int kPanelRows = 6, kPanelTiles = 2;   // 12 f32 and 12 integer sums
constexpr bool kKeepsBlocks = true;

using Vec = __m512;
using Ints = __m512i;
using Bytes = __m512i;
using PanelBytes = __m512i;
using Quad = __m512i;  // 4 activation codes in every lane

ATTAR_INLINE __mmask16 first_lanes(int64_t n) {
  return n >= 16 ? __mmask16(0xffff) : n <= 0 ? __mmask16(0) : __mmask16((1u << n) - 1u);
}

ATTAR_INLINE Vec zero() {
  return _mm512_setzero_ps();
}
ATTAR_INLINE Vec set1(float x) {
  return _mm512_set1_ps(x);
}
ATTAR_INLINE Vec load(const float* p) {
  return _mm512_loadu_ps(p);
}
ATTAR_INLINE void store(float* p, Vec v) {
  _mm512_storeu_ps(p, v);
}
ATTAR_INLINE Vec load_first(const float* p, int64_t n) {
  return _mm512_maskz_loadu_ps(first_lanes(n), p);
}
ATTAR_INLINE void store_first(float* p, Vec v, int64_t n) {
  _mm512_mask_storeu_ps(p, first_lanes(n), v);
}
ATTAR_INLINE Vec load_f16(const uint8_t* p) {
  return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
}
ATTAR_INLINE Vec load_bf16(const uint8_t* p) {
  const __m256i bits = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16));
}
// 16 codes times 2^24, as the AVX2 kernels have them.
ATTAR_INLINE Vec load_i8(const uint8_t* p) {
  const __m512i codes = _mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  return _mm512_cvtepi32_ps(_mm512_slli_epi32(codes, 24));
}
ATTAR_INLINE void store_f16(uint16_t* p, Vec v) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT));
}
ATTAR_INLINE Vec add(Vec a, Vec b) {
  return _mm512_add_ps(a, b);
}
ATTAR_INLINE Vec sub(Vec a, Vec b) {
  return _mm512_sub_ps(a, b);
}
ATTAR_INLINE Vec mul(Vec a, Vec b) {
  return _mm512_mul_ps(a, b);
}
ATTAR_INLINE Vec div(Vec a, Vec b) {
  return _mm512_div_ps(a, b);
}
ATTAR_INLINE Vec fma(Vec a, Vec b, Vec c) {
  return _mm512_fmadd_ps(a, b, c);
}
ATTAR_INLINE Vec larger(Vec a, Vec b) {
  return _mm512_max_ps(a, b);
}
ATTAR_INLINE Vec smaller(Vec a, Vec b) {
  return _mm512_min_ps(a, b);
}
ATTAR_INLINE Vec nearest(Vec a) {
  return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
ATTAR_INLINE Vec power_of_two(Vec n) {  // n whole, -126 <= n <= 127
  const __m512i exponent = _mm512_add_epi32(_mm512_cvtps_epi32(n), _mm512_set1_epi32(127));
  return _mm512_castsi512_ps(_mm512_slli_epi32(exponent, 23));
}
// Lanes begin <= lane < end of v, the others from `other`.
ATTAR_INLINE Vec keep_between(Vec v, int64_t begin, int64_t end, Vec other) {
  const auto kept = static_cast<__mmask16>(first_lanes(end) & ~first_lanes(begin));
  return _mm512_mask_blend_ps(kept, other, v);
}
template <class Combine>
ATTAR_INLINE __m128 fold(Vec v, Combine combine) {
  const __m128 a = combine(_mm512_extractf32x4_ps(v, 0), _mm512_extractf32x4_ps(v, 2));
  const __m128 b = combine(_mm512_extractf32x4_ps(v, 1), _mm512_extractf32x4_ps(v, 3));
  const __m128 c = combine(a, b);
  const __m128 d = combine(c, _mm_movehl_ps(c, c));
  return combine(d, _mm_shuffle_ps(d, d, 1));
}
ATTAR_INLINE float sum(Vec v) {
  return _mm_cvtss_f32(fold(v, [](__m128 a, __m128 b) { return _mm_add_ps(a, b); }));
}
ATTAR_INLINE float largest(Vec v) {
  return _mm_cvtss_f32(fold(v, [](__m128 a, __m128 b) { return _mm_max_ps(a, b); }));
}
// Of all lanes; compared as integers, in whose order NaN lies above every number.
ATTAR_INLINE float highest_magnitude(Vec a, Vec b) {
  const auto bits = [](Vec v) { return _mm512_castps_si512(_mm512_abs_ps(v)); };
  return _mm_cvtss_f32(fold(_mm512_castsi512_ps(_mm512_max_epi32(bits(a), bits(b))), [](__m128 x, __m128 y) {
    return _mm_castsi128_ps(_mm_max_epi32(_mm_castps_si128(x), _mm_castps_si128(y)));
  }));
}

ATTAR_INLINE Bytes load_bytes(const uint8_t* p) {
  return _mm512_loadu_si512(p);
}
ATTAR_INLINE Bytes load_table(const uint8_t* p) {
  return _mm512_broadcast_i32x4(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}
ATTAR_INLINE void store_bytes(uint8_t* p, Bytes v) {
  _mm512_storeu_si512(p, v);
}
ATTAR_INLINE Bytes look_up(Bytes table, Bytes index) {
  return _mm512_shuffle_epi8(table, index);
}
template <int kShift>
ATTAR_INLINE Bytes shifted(Bytes v) {
  if constexpr (kShift < 0)
    return _mm512_srli_epi16(v, -kShift);
  else if constexpr (kShift > 0)
    return _mm512_slli_epi16(v, kShift);
  else
    return v;
}
template <int kMask>
ATTAR_INLINE Bytes masked(Bytes v) {
  return _mm512_and_si512(v, _mm512_set1_epi8(static_cast<char>(kMask)));
}
ATTAR_INLINE Bytes either(Bytes a, Bytes b) {
  return _mm512_or_si512(a, b);
}

// Trits: the first digit of a byte counts the thirds of 256 that it reaches.
ATTAR_INLINE Bytes trit_start(Bytes v) {
  return v;
}
ATTAR_INLINE Bytes trit_of(Bytes v) {
  const Bytes one = _mm512_set1_epi8(1);
  const Bytes reached = _mm512_maskz_mov_epi8(_mm512_cmpgt_epu8_mask(v, _mm512_set1_epi8(85)), one);
  return _mm512_mask_add_epi8(reached, _mm512_cmpgt_epu8_mask(v, _mm512_set1_epi8(static_cast<char>(170))), reached,
                              one);
}
ATTAR_INLINE Bytes tripled(Bytes v) {
  return _mm512_add_epi8(v, _mm512_add_epi8(v, v));
}

// The even, or odd, 32-bit lanes of each 128 bits of x, then of y.
template <bool kOdd>
ATTAR_INLINE Bytes every_other(Bytes x, Bytes y) {
  return _mm512_castps_si512(_mm512_shuffle_ps(_mm512_castsi512_ps(x), _mm512_castsi512_ps(y), kOdd ? 0xdd : 0x88));
}

// Which bytes have bit j.
template <int j>
ATTAR_INLINE __mmask64 sign_of(Bytes bits) {
  return _mm512_movepi8_mask(shifted<7 - j>(bits));
}
template <int j>
ATTAR_INLINE Bytes with_signs(Bytes v, Bytes bits) {
  return _mm512_mask_sub_epi8(v, sign_of<j>(bits), _mm512_setzero_si512(), v);
}
// v - 1 where bit j is set, else v + 1
template <int j>
ATTAR_INLINE Bytes one_up_or_down(Bytes v, Bytes bits) {
  const Bytes one = _mm512_set1_epi8(1);
  return _mm512_mask_sub_epi8(_mm512_add_epi8(v, one), sign_of<j>(bits), v, one);
}

ATTAR_INLINE Vec bytes_to_float(const uint8_t* p) {
  return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(load_half(p)));
}
ATTAR_INLINE Vec e8m0_to_float(const uint8_t* p) {
  const __m512i e = _mm512_cvtepu8_epi32(load_half(p));
  const __m512i low = _mm512_sllv_epi32(_mm512_set1_epi32(0x00200000), e);
  const __m512i high = _mm512_slli_epi32(_mm512_sub_epi32(e, _mm512_set1_epi32(1)), 23);
  return _mm512_castsi512_ps(_mm512_mask_mov_epi32(high, _mm512_cmplt_epi32_mask(e, _mm512_set1_epi32(2)), low));
}
// In the bits of an F16 such a number is 2^8 smaller; halved: 2^7.
ATTAR_INLINE Vec ue4m3_to_float(const uint8_t* p) {
  return mul(_mm512_cvtph_ps(_mm256_slli_epi16(_mm256_cvtepu8_epi16(load_half(p)), 7)), set1(128.0f));
}
ATTAR_INLINE Vec to_float(Ints v) {
  return _mm512_cvtepi32_ps(v);
}
ATTAR_INLINE Quad load_quad(const int8_t* x) {
  int32_t four;
  __builtin_memcpy(&four, x, 4);
  return _mm512_set1_epi32(four);
}

// -kBias * sum of x, which is exact: kBias is 0 or a power of two.
template <int kBias>
ATTAR_INLINE Ints correction(int32_t minus_128_sums) {
  if constexpr (kBias == 0)
    return _mm512_setzero_si512();
  else
    return _mm512_set1_epi32(minus_128_sums >> __builtin_ctz(128 / kBias));
}

// sum of (code - kBias) * x over kQuads registers, which code<j>() makes; `minus_128_sums` is -128 * sum of x.
template <int kBias, int kMost, int kQuads, class Code>
ATTAR_INLINE Ints dot_codes(const Code& code, const int8_t* x, int32_t minus_128_sums) {
  Ints sums[2] = {correction<kBias>(minus_128_sums), _mm512_setzero_si512()};
  each<0, kQuads>([&]<int j>() ATTAR_INLINE_LAMBDA {
    sums[j % 2] = _mm512_dpbusd_epi32(sums[j % 2], code.template operator()<j>(), load_quad(x + 4 * j));
  });
  return _mm512_add_epi32(sums[0], sums[1]);
}

// The same of magnitudes; bit kFirst + j of `signs` belongs to register j.
template <int kMost, int kQuads, int kFirst, class Code>
ATTAR_INLINE Ints dot_signed(const Code& code, Bytes signs, const int8_t* x) {
  Ints sums[2] = {_mm512_setzero_si512(), _mm512_setzero_si512()};
  each<0, kQuads>([&]<int j>() ATTAR_INLINE_LAMBDA {
    const Bytes quad = with_signs<kFirst + j>(load_quad(x + 4 * j), signs);
    sums[j % 2] = _mm512_dpbusd_epi32(sums[j % 2], code.template operator()<j>(), quad);
  });
  return _mm512_add_epi32(sums[0], sums[1]);
}

// Panels hold codes + 128.
template <int kBias>
ATTAR_INLINE void store_panel(uint8_t* p, Bytes v) {
  _mm512_storeu_si512(p, _mm512_add_epi8(v, _mm512_set1_epi8(static_cast<char>(128 - kBias))));
}
ATTAR_INLINE PanelBytes load_panel(const uint8_t* p) {
  return _mm512_loadu_si512(p);
}
ATTAR_INLINE PanelBytes load_signed(const int8_t* p) {
  return _mm512_xor_si512(_mm512_loadu_si512(p), _mm512_set1_epi8(-128));
}
ATTAR_INLINE Ints panel_start(int32_t minus_128_sums) {
  return _mm512_set1_epi32(minus_128_sums);
}
ATTAR_INLINE Ints panel_dot(Ints sums, PanelBytes w, Quad x) {
  return _mm512_dpbusd_epi32(sums, w, x);
}

// Rounds 16 values to int8 codes; -> their sum.
ATTAR_INLINE int32_t store_codes(int8_t* p, Vec v) {
  const __m512i rounded = _mm512_cvtps_epi32(v);
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtepi32_epi8(rounded));
  return _mm512_reduce_add_epi32(rounded);
}

#include "runtime/kernels/kernels_attention.inc"
#include "runtime/kernels/kernels_codes.inc"
#include "runtime/kernels/kernels_float.inc"

constexpr Kernels kTable = table_for(Isa::Avx512Vnni);

}  // namespace

const Kernels& avx512_kernels() noexcept {
  return kTable;
}

}  // namespace attar::runtime
