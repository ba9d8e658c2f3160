// Built with vector optimisation; each loop exists for several instruction sets and the right one is bound at load
// time.
#include "runtime/kernels/vocabulary_math.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "runtime/base/error.h"
#include "runtime/base/fast_math.h"

namespace attar::runtime {
namespace {

constexpr int64_t kLanes = 16;
constexpr int64_t kBlock = 512;   // logits whose maximum decides whether they are looked at one by one
constexpr int64_t kChunk = 4096;  // f32 lane sums are emptied into a double after so many

// sum of p * (log p - log q) with log p = a - most_a - lse_a, and so for b. The largest logit is taken off first, so
// that what is rounded is small where p is large.
struct Shift {
  float most, lse;  // the largest logit; log-sum-exp minus it
};
ATTAR_VECTOR_CLONES float kl_chunk(const float* a, Shift sa, const float* b, Shift sb, int64_t n) {
  float lanes[kLanes] = {};
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes)
    for (int64_t l = 0; l < kLanes; ++l) {
      const float log_p = (a[i + l] - sa.most) - sa.lse;
      lanes[l] += fast_exp(log_p) * (log_p - ((b[i + l] - sb.most) - sb.lse));
    }
  float sum = 0.0f;
  for (int64_t l = 0; l < kLanes; ++l) sum += lanes[l];
  for (; i < n; ++i) {
    const float log_p = (a[i] - sa.most) - sa.lse;
    sum += fast_exp(log_p) * (log_p - ((b[i] - sb.most) - sb.lse));
  }
  return sum;
}

ATTAR_VECTOR_CLONES void exponentials_loop(const float* x, float most, float scale, float* out, int64_t n) {
  for (int64_t i = 0; i < n; ++i) out[i] = fast_exp((x[i] - most) * scale);
}

}  // namespace

int64_t argmax(std::span<const float> logits) {
  const auto n = static_cast<int64_t>(logits.size());
  float most = -HUGE_VALF;
  int64_t block = 0;  // where the largest is first seen
  for (int64_t i = 0; i < n; i += kBlock) {
    const float here = maximum(logits.data() + i, std::min(kBlock, n - i));
    if (here > most) most = here, block = i;
  }
  const auto found = std::find(logits.begin() + block, logits.end(), most);
  if (found == logits.end()) throw input_error("logits", "none of them is a number");
  return found - logits.begin();
}

double log_sum_exp(std::span<const float> logits) {
  const auto n = static_cast<int64_t>(logits.size());
  const float most = maximum(logits.data(), n);
  double sum = 0.0;
  for (int64_t i = 0; i < n; i += kChunk)
    sum += static_cast<double>(sum_exp(logits.data() + i, std::min(kChunk, n - i), 1.0f, most));
  return static_cast<double>(most) + std::log(sum);
}

double kl_divergence(std::span<const float> teacher, double teacher_lse, std::span<const float> student,
                     double student_lse) {
  const auto n = static_cast<int64_t>(teacher.size());
  const auto shift_of = [n](const float* logits, double lse) {
    const float most = maximum(logits, n);
    return Shift{most, static_cast<float>(lse - static_cast<double>(most))};
  };
  const Shift a = shift_of(teacher.data(), teacher_lse), b = shift_of(student.data(), student_lse);
  double sum = 0.0;
  for (int64_t i = 0; i < n; i += kChunk)
    sum += static_cast<double>(kl_chunk(teacher.data() + i, a, student.data() + i, b, std::min(kChunk, n - i)));
  return sum < 0.0 ? 0.0 : sum;  // rounding below 0 is cut off; NaN stays
}

void exponentials(std::span<const float> logits, float most, float scale, std::span<float> out) {
  exponentials_loop(logits.data(), most, scale, out.data(), static_cast<int64_t>(logits.size()));
}

std::vector<int32_t> top_indices(std::span<const float> logits, int64_t k) {
  const auto n = static_cast<int64_t>(logits.size());
  k = std::min(k, n);
  if (k <= 0) return {};
  const auto before = [&](int32_t a, int32_t b) {
    const float x = logits[static_cast<size_t>(a)], y = logits[static_cast<size_t>(b)];
    return x != y ? x > y : a < b;
  };
  // A heap of the best k so far, the worst on top. Blocks that hold nothing better are passed over by their maximum.
  std::vector<int32_t> best;
  best.reserve(static_cast<size_t>(k));
  const auto worst = [&] { return logits[static_cast<size_t>(best.front())]; };
  const auto full = [&] { return static_cast<int64_t>(best.size()) == k; };
  for (int64_t block = 0; block < n; block += kBlock) {
    const int64_t end = std::min(block + kBlock, n);
    if (full() && maximum(logits.data() + block, end - block) <= worst()) continue;
    for (int64_t i = block; i < end; ++i) {
      if (std::isnan(logits[static_cast<size_t>(i)])) continue;
      if (full()) {
        if (!(logits[static_cast<size_t>(i)] > worst())) continue;
        std::pop_heap(best.begin(), best.end(), before);
        best.pop_back();
      }
      best.push_back(static_cast<int32_t>(i));
      std::push_heap(best.begin(), best.end(), before);
    }
  }
  std::sort(best.begin(), best.end(), before);
  return best;
}

}  // namespace attar::runtime
