// An exponential and a logarithm that compilers turn into vector code, for loops over a vocabulary.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <limits>

// Functions with such loops exist for several instruction sets; the right one is bound when the program starts.
#if defined(__x86_64__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#ifdef __clang__
#define ATTAR_VECTOR_CLONES __attribute__((target_clones("avx512f", "avx2", "default")))
#else  // v3: AVX2 with fused multiply-adds, for files that may contract to them
#define ATTAR_VECTOR_CLONES __attribute__((target_clones("avx512f", "arch=x86-64-v3", "default")))
#endif
#else
#define ATTAR_VECTOR_CLONES
#endif

namespace attar {

// exp(x) for x <= 88, relative error below 2e-7; below -87 it is 0, above 88 infinity, of NaN NaN. 2^n * p(r) with
// |r| <= ln(2) / 2, coefficients of Cephes' expf (Moshier).
inline float fast_exp(float x) {
  const float clamped = std::max(x, -87.0f);
  const float rounded = clamped * 1.44269504f + 12582912.0f;  // its lowest bits are n, a whole number
  const float n = rounded - 12582912.0f;
  const float r = (clamped - n * 0.693359375f) + n * 2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  const float scaled = std::bit_cast<float>(std::bit_cast<uint32_t>(p) + (std::bit_cast<uint32_t>(rounded) << 23));
  const float finite = x < -87.0f ? 0.0f : scaled;
  return x <= 88.0f ? finite : x + std::numeric_limits<float>::infinity();
}

// log(x) of a normal x, relative error below 2e-7 and below 1e-7 of x - 1 around 1; of NaN NaN, below the least normal
// number its logarithm. x = 2^n * m with m in [sqrt(1/2), sqrt(2)); coefficients of Cephes' logf (Moshier).
inline float fast_log(float x) {
  const float normal = x < std::numeric_limits<float>::min() ? std::numeric_limits<float>::min() : x;
  const uint32_t bits = std::bit_cast<uint32_t>(normal), shifted = bits - 0x3f3504f3u;  // the bits of sqrt(1/2)
  const auto exponent = static_cast<float>(static_cast<int32_t>(shifted) >> 23);
  const float r = std::bit_cast<float>((shifted & 0x007fffffu) + 0x3f3504f3u) - 1.0f, square = r * r;
  float p = 7.0376836292e-2f;
  p = p * r - 1.1514610310e-1f;
  p = p * r + 1.1676998740e-1f;
  p = p * r - 1.2420140846e-1f;
  p = p * r + 1.4249322787e-1f;
  p = p * r - 1.6668057665e-1f;
  p = p * r + 2.0000714765e-1f;
  p = p * r - 2.4999993993e-1f;
  p = p * r + 3.3333331174e-1f;
  const float tail = p * r * square + exponent * -2.12194440e-4f - 0.5f * square;
  const float finite = r + tail + exponent * 0.693359375f;
  return x <= std::numeric_limits<float>::max() ? finite : x;
}

// Over a row x (n), sixteen lanes at a time in an order that no instruction set changes.
float maximum(const float* x, int64_t n);                             // -infinity for n = 0
float sum_exp(const float* x, int64_t n, float scale, float offset);  // sum of exp(x * scale - offset), in f32

}  // namespace attar
