// Built with vector optimisation; each loop exists for several instruction sets and the right one is bound at load
// time.
#include "runtime/vocabulary_math.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "runtime/base/fast_math.h"

namespace attar::runtime {
namespace {

constexpr int64_t kLanes = 16;
constexpr int64_t kChunk = 4096;  // f32 lane sums are emptied into a double after so many

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

ATTAR_VECTOR_CLONES float sum_exp_chunk(const float* x, int64_t n, float offset) {
  float lanes[kLanes] = {};
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes)
    for (int64_t l = 0; l < kLanes; ++l) lanes[l] += fast_exp(x[i + l] - offset);
  float sum = 0.0f;
  for (int64_t l = 0; l < kLanes; ++l) sum += lanes[l];
  for (; i < n; ++i) sum += fast_exp(x[i] - offset);
  return sum;
}

// sum of p * (log p - log q) with log p = a - la, log q = b - lb
ATTAR_VECTOR_CLONES float kl_chunk(const float* a, float la, const float* b, float lb, int64_t n) {
  float lanes[kLanes] = {};
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes)
    for (int64_t l = 0; l < kLanes; ++l) {
      const float log_p = a[i + l] - la;
      lanes[l] += fast_exp(log_p) * (log_p - (b[i + l] - lb));
    }
  float sum = 0.0f;
  for (int64_t l = 0; l < kLanes; ++l) sum += lanes[l];
  for (; i < n; ++i) sum += fast_exp(a[i] - la) * ((a[i] - la) - (b[i] - lb));
  return sum;
}

ATTAR_VECTOR_CLONES void exponentials_loop(const float* x, float scale, float offset, float* out, int64_t n) {
  for (int64_t i = 0; i < n; ++i) out[i] = fast_exp(x[i] * scale - offset);
}

}  // namespace

int64_t argmax(std::span<const float> logits) {
  const float most = maximum(logits.data(), static_cast<int64_t>(logits.size()));
  return std::find(logits.begin(), logits.end(), most) - logits.begin();
}

double log_sum_exp(std::span<const float> logits) {
  const auto n = static_cast<int64_t>(logits.size());
  const float most = maximum(logits.data(), n);
  double sum = 0.0;
  for (int64_t i = 0; i < n; i += kChunk)
    sum += static_cast<double>(sum_exp_chunk(logits.data() + i, std::min(kChunk, n - i), most));
  return static_cast<double>(most) + std::log(sum);
}

double kl_divergence(std::span<const float> teacher, double teacher_lse, std::span<const float> student,
                     double student_lse) {
  const auto n = static_cast<int64_t>(teacher.size());
  double sum = 0.0;
  for (int64_t i = 0; i < n; i += kChunk)
    sum += static_cast<double>(kl_chunk(teacher.data() + i, static_cast<float>(teacher_lse), student.data() + i,
                                        static_cast<float>(student_lse), std::min(kChunk, n - i)));
  return std::max(0.0, sum);
}

void exponentials(std::span<const float> logits, float scale, float offset, std::span<float> out) {
  exponentials_loop(logits.data(), scale, offset, out.data(), static_cast<int64_t>(logits.size()));
}

std::vector<int32_t> top_indices(std::span<const float> logits, int64_t k) {
  const auto n = static_cast<int64_t>(logits.size());
  k = std::min(k, n);
  const auto before = [&](int32_t a, int32_t b) {
    return logits[static_cast<size_t>(a)] != logits[static_cast<size_t>(b)]
               ? logits[static_cast<size_t>(a)] > logits[static_cast<size_t>(b)]
               : a < b;
  };
  // A heap of the best k so far, the worst on top; most logits fail its first comparison.
  std::vector<int32_t> best;
  best.reserve(static_cast<size_t>(k));
  for (int64_t i = 0; i < n; ++i) {
    const auto id = static_cast<int32_t>(i);
    if (static_cast<int64_t>(best.size()) < k) {
      best.push_back(id);
      std::push_heap(best.begin(), best.end(), before);
    } else if (k > 0 && logits[static_cast<size_t>(i)] > logits[static_cast<size_t>(best.front())]) {
      std::pop_heap(best.begin(), best.end(), before);
      best.back() = id;
      std::push_heap(best.begin(), best.end(), before);
    }
  }
  std::sort(best.begin(), best.end(), before);
  return best;
}

}  // namespace attar::runtime
