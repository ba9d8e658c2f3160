// An exponential that compilers turn into vector code, for loops over a vocabulary.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>

// Functions with such loops exist for several instruction sets; the right one is bound when the program starts.
#if defined(__x86_64__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define ATTAR_VECTOR_CLONES __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define ATTAR_VECTOR_CLONES
#endif

namespace attar {

// exp(x) for x <= 88, relative error below 2e-7; below -87 it is 0. 2^n * p(r) with |r| <= ln(2) / 2, coefficients of
// Cephes' expf (Moshier).
inline float fast_exp(float x) {
  const float clamped = std::max(x, -87.0f);
  const float n = (clamped * 1.44269504f + 12582912.0f) - 12582912.0f;  // rounds to a whole number
  const float r = (clamped - n * 0.693359375f) + n * 2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  const float scaled = std::bit_cast<float>(std::bit_cast<int32_t>(p) + (static_cast<int32_t>(n) << 23));
  return x < -87.0f ? 0.0f : scaled;
}

// Over a row x (n), sixteen lanes at a time in an order that no instruction set changes.
float maximum(const float* x, int64_t n);                             // -infinity for n = 0
float sum_exp(const float* x, int64_t n, float scale, float offset);  // sum of exp(x * scale - offset), in f32

}  // namespace attar
