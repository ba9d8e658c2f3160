// An exponential that compilers turn into vector code, for loops over a vocabulary.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <limits>

// Functions with such loops exist for several instruction sets; the right one is bound when the program starts.
#if defined(__x86_64__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define ATTAR_VECTOR_CLONES __attribute__((target_clones("avx512f", "avx2", "default")))
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

// Over a row x (n), sixteen lanes at a time in an order that no instruction set changes.
float maximum(const float* x, int64_t n);                             // -infinity for n = 0
float sum_exp(const float* x, int64_t n, float scale, float offset);  // sum of exp(x * scale - offset), in f32

}  // namespace attar
