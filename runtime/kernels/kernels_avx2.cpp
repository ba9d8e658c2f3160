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

#include "runtime/kernels/kernels_x86.inc"

constexpr int kLanes = 16;
constexpr int kPlainRows = 6, kPlainTiles = 1;  // 12 sums, 2 weights, 1 activation of 16 registers
constexpr int kPanelRows = 4, kPanelTiles = 1;
constexpr bool kKeepsBlocks = false;  // too few registers: kernels_few_rows.inc

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

ATTAR_INLINE Bytes load_bytes(const uint8_t* p) {
  return {load_256(p), load_256(p + 32)};
}
ATTAR_INLINE Bytes load_table(const uint8_t* p) {
  const __m256i table = _mm256_broadcastsi128_si256(load_half(p));
  return {table, table};
}
ATTAR_INLINE void store_bytes(uint8_t* p, Bytes v) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), v.a);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p + 32), v.b);
}
ATTAR_INLINE Bytes look_up(Bytes table, Bytes index) {
  return {_mm256_shuffle_epi8(table.a, index.a), _mm256_shuffle_epi8(table.b, index.b)};
}
template <int kShift>
ATTAR_INLINE Bytes shifted(Bytes v) {
  return {shifted<kShift>(v.a), shifted<kShift>(v.b)};
}
template <int kMask>
ATTAR_INLINE Bytes masked(Bytes v) {
  return {masked<kMask>(v.a), masked<kMask>(v.b)};
}
ATTAR_INLINE Bytes either(Bytes x, Bytes y) {
  return {either(x.a, y.a), either(x.b, y.b)};
}

// Trits: a byte is taken less 128, to be compared signed. Its first digit counts the thirds of 256 that it reaches.
ATTAR_INLINE Bytes trit_start(Bytes v) {
  const __m256i middle = _mm256_set1_epi8(-128);
  return {_mm256_xor_si256(v.a, middle), _mm256_xor_si256(v.b, middle)};
}
ATTAR_INLINE __m256i trit_of(__m256i v) {
  const __m256i one = _mm256_cmpgt_epi8(v, _mm256_set1_epi8(85 - 128));
  const __m256i two = _mm256_cmpgt_epi8(v, _mm256_set1_epi8(170 - 128));
  return _mm256_sub_epi8(_mm256_setzero_si256(), _mm256_add_epi8(one, two));
}
ATTAR_INLINE Bytes trit_of(Bytes v) {
  return {trit_of(v.a), trit_of(v.b)};
}
ATTAR_INLINE Bytes tripled(Bytes v) {  // 3 (v - 128) is 3 v - 128 modulo 256
  return {_mm256_add_epi8(v.a, _mm256_add_epi8(v.a, v.a)), _mm256_add_epi8(v.b, _mm256_add_epi8(v.b, v.b))};
}

// The even, or odd, 32-bit lanes of each 128 bits of x, then of y.
template <bool kOdd>
ATTAR_INLINE Bytes every_other(Bytes x, Bytes y) {
  const auto half = [](__m256i v, __m256i w) ATTAR_INLINE_LAMBDA {
    return _mm256_castps_si256(_mm256_shuffle_ps(_mm256_castsi256_ps(v), _mm256_castsi256_ps(w), kOdd ? 0xdd : 0x88));
  };
  return {half(x.a, y.a), half(x.b, y.b)};
}

// Bit j of each byte as its sign: negative or positive, never zero.
template <int j>
ATTAR_INLINE __m256i sign_of(__m256i bits) {
  return _mm256_or_si256(shifted<7 - j>(bits), _mm256_set1_epi8(1));
}
template <int j>
ATTAR_INLINE Bytes with_signs(Bytes v, Bytes bits) {
  return {_mm256_sign_epi8(v.a, sign_of<j>(bits.a)), _mm256_sign_epi8(v.b, sign_of<j>(bits.b))};
}
// v - 1 where bit j is set, else v + 1
template <int j>
ATTAR_INLINE __m256i one_up_or_down(__m256i v, __m256i bits) {
  return _mm256_add_epi8(v, _mm256_sign_epi8(_mm256_set1_epi8(1), sign_of<j>(bits)));
}
template <int j>
ATTAR_INLINE Bytes one_up_or_down(Bytes v, Bytes bits) {
  return {one_up_or_down<j>(v.a, bits.a), one_up_or_down<j>(v.b, bits.b)};
}

ATTAR_INLINE Vec bytes_to_float(const uint8_t* p) {
  const __m128i bytes = load_half(p);
  return {_mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(bytes)),
          _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_unpackhi_epi64(bytes, bytes)))};
}
ATTAR_INLINE __m256 e8m0_half(__m128i bytes) {
  const __m256i e = _mm256_cvtepu8_epi32(bytes);
  const __m256i low = _mm256_sllv_epi32(_mm256_set1_epi32(0x00200000), e);
  const __m256i high = _mm256_slli_epi32(_mm256_sub_epi32(e, _mm256_set1_epi32(1)), 23);
  return _mm256_castsi256_ps(_mm256_blendv_epi8(high, low, _mm256_cmpgt_epi32(_mm256_set1_epi32(2), e)));
}
ATTAR_INLINE Vec e8m0_to_float(const uint8_t* p) {
  const __m128i bytes = load_half(p);
  return {e8m0_half(bytes), e8m0_half(_mm_unpackhi_epi64(bytes, bytes))};
}
// In the bits of an F16 such a number is 2^8 smaller; halved: 2^7.
ATTAR_INLINE Vec ue4m3_to_float(const uint8_t* p) {
  const __m256i halves = _mm256_slli_epi16(_mm256_cvtepu8_epi16(load_half(p)), 7);
  const Vec small = {_mm256_cvtph_ps(_mm256_castsi256_si128(halves)),
                     _mm256_cvtph_ps(_mm256_extracti128_si256(halves, 1))};
  return mul(small, set1(128.0f));
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

// Into 16 bits go the sums of so many pairs of products, a code of at most kMost each; a power of two.
constexpr int pair_sums(int most, int quads) {
  int n = quads;
  while (n * 2 * 127 * most > 32767) n /= 2;
  return n;
}
// Sums of one or two rows.
template <int kRows>
struct RowInts {
  Ints of[kRows];
};
// Sum over registers [kFrom, kTo), product<j>() giving the pair sums of one; in 16 bits, then in runs that 16 bits
// hold.
template <int kFrom, int kTo, int kRows, class Product>
ATTAR_INLINE RowInts<kRows> sum_run(const Product& product) {
  if constexpr (kFrom + 1 == kTo) {
    return product.template operator()<kFrom>();
  } else {
    RowInts<kRows> sums = sum_run<kFrom, kTo - 1, kRows>(product);
    const RowInts<kRows> last = product.template operator()<kTo - 1>();
    each<0, kRows>([&]<int r>() ATTAR_INLINE_LAMBDA {
      sums.of[r] = {_mm256_add_epi16(sums.of[r].a, last.of[r].a), _mm256_add_epi16(sums.of[r].b, last.of[r].b)};
    });
    return sums;
  }
}
template <int kRun, int kTo, int kRows, class Product>
ATTAR_INLINE RowInts<kRows> sum_pairs(RowInts<kRows> sums, const Product& product) {
  if constexpr (kTo > kRun) sums = sum_pairs<kRun, kTo - kRun>(sums, product);
  const __m256i ones = _mm256_set1_epi16(1);
  const RowInts<kRows> pairs = sum_run<kTo - kRun, kTo, kRows>(product);
  each<0, kRows>([&]<int r>() ATTAR_INLINE_LAMBDA {
    sums.of[r] = {_mm256_add_epi32(sums.of[r].a, _mm256_madd_epi16(pairs.of[r].a, ones)),
                  _mm256_add_epi32(sums.of[r].b, _mm256_madd_epi16(pairs.of[r].b, ones))};
  });
  return sums;
}

// Onto `sums`: code * x over kQuads registers, which code<j>() makes, of rows that lie `stride` apart. The codes are
// unsigned.
template <int kMost, int kQuads, int kRows, class Code>
ATTAR_INLINE RowInts<kRows> dot_unsigned(RowInts<kRows> sums, const Code& code, const int8_t* x,
                                         [[maybe_unused]] int64_t stride) {
  return sum_pairs<pair_sums(kMost, kQuads), kQuads>(sums, [&]<int j>() ATTAR_INLINE_LAMBDA {
    const Bytes codes = code.template operator()<j>();
    RowInts<kRows> products;
    each<0, kRows>([&]<int r>() ATTAR_INLINE_LAMBDA {
      const Quad quad = load_quad(x + r * stride + 4 * j);
      products.of[r] = {_mm256_maddubs_epi16(codes.a, quad), _mm256_maddubs_epi16(codes.b, quad)};
    });
    return products;
  });
}
// Of codes + 128.
template <int kQuads, int kRows, class Code>
ATTAR_INLINE RowInts<kRows> dot_biased(RowInts<kRows> sums, const Code& code, const int8_t* x,
                                       [[maybe_unused]] int64_t stride) {
  each<0, kQuads>([&]<int j>() ATTAR_INLINE_LAMBDA {
    const Bytes codes = without_bias<128>(code.template operator()<j>());
    const PanelBytes w = with_magnitudes(codes.a, codes.b);
    each<0, kRows>(
        [&]<int r>() ATTAR_INLINE_LAMBDA { sums.of[r] = panel_dot(sums.of[r], w, load_quad(x + r * stride + 4 * j)); });
  });
  return sums;
}
// Of magnitudes; bit kFirst + j of `signs` belongs to register j.
template <int kMost, int kQuads, int kFirst, int kRows, class Code>
ATTAR_INLINE RowInts<kRows> dot_with_signs(RowInts<kRows> sums, const Code& code, Bytes signs, const int8_t* x,
                                           [[maybe_unused]] int64_t stride) {
  return sum_pairs<pair_sums(kMost, kQuads), kQuads>(sums, [&]<int j>() ATTAR_INLINE_LAMBDA {
    const Bytes codes = code.template operator()<j>();
    const Bytes own = {sign_of<kFirst + j>(signs.a), sign_of<kFirst + j>(signs.b)};
    RowInts<kRows> products;
    each<0, kRows>([&]<int r>() ATTAR_INLINE_LAMBDA {
      const Quad quad = load_quad(x + r * stride + 4 * j);
      products.of[r] = {_mm256_maddubs_epi16(codes.a, _mm256_sign_epi8(quad, own.a)),
                        _mm256_maddubs_epi16(codes.b, _mm256_sign_epi8(quad, own.b))};
    });
    return products;
  });
}

ATTAR_INLINE Ints all_lanes(int32_t x) {
  return {_mm256_set1_epi32(x), _mm256_set1_epi32(x)};
}
// sum of (code - kBias) * x over kQuads registers, which code<j>() makes; `minus_128_sums` is -128 * sum of x.
template <int kBias, int kMost, int kQuads, class Code>
ATTAR_INLINE Ints dot_codes(const Code& code, const int8_t* x, int32_t minus_128_sums) {
  if constexpr (kBias == 128) {
    return dot_biased<kQuads>(RowInts<1>{{all_lanes(0)}}, code, x, 0).of[0];
  } else {
    const int32_t start = kBias == 0 ? 0 : minus_128_sums / (128 / (kBias == 0 ? 128 : kBias));
    return dot_unsigned<kMost, kQuads>(RowInts<1>{{all_lanes(start)}}, code, x, 0).of[0];
  }
}

// The same of magnitudes; bit kFirst + j of `signs` belongs to register j.
template <int kMost, int kQuads, int kFirst, class Code>
ATTAR_INLINE Ints dot_signed(const Code& code, Bytes signs, const int8_t* x) {
  return dot_with_signs<kMost, kQuads, kFirst>(RowInts<1>{{all_lanes(0)}}, code, signs, x, 0).of[0];
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
#include "runtime/kernels/kernels_few_rows.inc"
#include "runtime/kernels/kernels_float.inc"

constexpr Kernels kTable = with_few_rows(table_for(Isa::Avx2));

}  // namespace

const Kernels& avx2_kernels() noexcept {
  return kTable;
}

}  // namespace attar::runtime
