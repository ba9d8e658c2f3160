#include "runtime/base/fast_math.h"

#include <cmath>

namespace attar {
namespace {

constexpr int64_t kLanes = 16;

}  // namespace

ATTAR_VECTOR_CLONES float maximum(const float* x, int64_t n) {
  float lanes[kLanes];
  for (int64_t l = 0; l < kLanes; ++l) lanes[l] = -HUGE_VALF;
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes)
    for (int64_t l = 0; l < kLanes; ++l) lanes[l] = x[i + l] > lanes[l] ? x[i + l] : lanes[l];
  float most = -HUGE_VALF;
  for (int64_t l = 0; l < kLanes; ++l) most = std::max(most, lanes[l]);
  for (; i < n; ++i) most = std::max(most, x[i]);
  return most;
}

ATTAR_VECTOR_CLONES float sum_exp(const float* x, int64_t n, float scale, float offset) {
  float lanes[kLanes] = {};
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes)
    for (int64_t l = 0; l < kLanes; ++l) lanes[l] += fast_exp(x[i + l] * scale - offset);
  float sum = 0.0f;
  for (int64_t l = 0; l < kLanes; ++l) sum += lanes[l];
  for (; i < n; ++i) sum += fast_exp(x[i] * scale - offset);
  return sum;
}

}  // namespace attar
