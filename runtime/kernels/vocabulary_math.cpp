// Built with vector optimisation; each loop exists for several instruction sets and the right one is bound at load
// time.
#include "runtime/kernels/vocabulary_math.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <utility>

#include "runtime/base/error.h"
#include "runtime/base/fast_math.h"

namespace attar::runtime {
namespace {

constexpr int64_t kLanes = 16;
constexpr int64_t kBlock = 512;        // logits whose maximum decides whether they are looked at one by one
constexpr int64_t kChunk = kSumChunk;  // f32 lane sums are emptied into a double after so many

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

template <int64_t kHalf>
inline void fold(float* lanes) {
  for (int64_t l = 0; l < kHalf; ++l) lanes[l] = lanes[l + kHalf] > lanes[l] ? lanes[l + kHalf] : lanes[l];
}
// Of whole blocks.
ATTAR_VECTOR_CLONES void block_maxima_loop(const float* x, int64_t n_blocks, float* maxima) {
  for (int64_t b = 0; b < n_blocks; ++b, x += kLogitBlock) {
    float lanes[kLanes];
    for (int64_t l = 0; l < kLanes; ++l) lanes[l] = -HUGE_VALF;
    for (int64_t i = 0; i < kLogitBlock; i += kLanes)
      for (int64_t l = 0; l < kLanes; ++l) lanes[l] = x[i + l] > lanes[l] ? x[i + l] : lanes[l];
    fold<8>(lanes);
    fold<4>(lanes);
    fold<2>(lanes);
    fold<1>(lanes);
    maxima[b] = lanes[0];
  }
}

// Where `most` is first seen, from place `begin` on, before which it is not.
int64_t first_of(std::span<const float> logits, int64_t begin, float most) {
  const auto found = std::find(logits.begin() + begin, logits.end(), most);
  if (found == logits.end()) throw input_error("logits", "none of them is a number");
  return found - logits.begin();
}

// The k largest of the logits that were taken, in a heap with the worst on top. They are taken in ascending order, so
// ties stay with the lower index.
class Largest {
 public:
  Largest(std::span<const float> logits, int64_t k) : logits_(logits), k_(static_cast<size_t>(k)) { best_.reserve(k_); }

  // Whether a logit of a block with this maximum may be one of them.
  bool may_hold(float most) const { return best_.size() < k_ || most > logits_[static_cast<size_t>(best_.front())]; }
  void take(int64_t first, int64_t last) {
    const Before before{logits_};
    for (int64_t i = first; i < last; ++i) {
      const float logit = logits_[static_cast<size_t>(i)];
      if (std::isnan(logit) || !may_hold(logit)) continue;
      if (best_.size() == k_) {
        std::pop_heap(best_.begin(), best_.end(), before);
        best_.pop_back();
      }
      best_.push_back(static_cast<int32_t>(i));
      std::push_heap(best_.begin(), best_.end(), before);
    }
  }
  std::vector<int32_t> sorted() {
    std::sort(best_.begin(), best_.end(), Before{logits_});
    return std::move(best_);
  }

 private:
  struct Before {
    std::span<const float> logits;
    bool operator()(int32_t a, int32_t b) const {
      const float x = logits[static_cast<size_t>(a)], y = logits[static_cast<size_t>(b)];
      return x != y ? x > y : a < b;
    }
  };

  std::span<const float> logits_;
  size_t k_;
  std::vector<int32_t> best_;
};

}  // namespace

int64_t argmax(std::span<const float> logits) {
  const auto n = static_cast<int64_t>(logits.size());
  float most = -HUGE_VALF;
  int64_t block = 0;  // where the largest is first seen
  for (int64_t i = 0; i < n; i += kBlock) {
    const float here = maximum(logits.data() + i, std::min(kBlock, n - i));
    if (here > most) most = here, block = i;
  }
  return first_of(logits, block, most);
}

int64_t argmax(std::span<const float> logits, std::span<const float> maxima) {
  const auto most = std::max_element(maxima.begin(), maxima.end());
  if (most == maxima.end()) return argmax(logits);  // there is nothing
  return first_of(logits, (most - maxima.begin()) * kLogitBlock, *most);
}

void block_maxima(std::span<const float> logits, float* maxima) {
  const auto n = static_cast<int64_t>(logits.size()), whole = n / kLogitBlock;
  block_maxima_loop(logits.data(), whole, maxima);
  if (n % kLogitBlock != 0) maxima[whole] = maximum(logits.data() + whole * kLogitBlock, n % kLogitBlock);
}

float chunk_sum(std::span<const float> logits, int64_t chunk, float most) {
  const auto n = static_cast<int64_t>(logits.size()), first = chunk * kChunk;
  return sum_exp(logits.data() + first, std::min(kChunk, n - first), 1.0f, most);
}

double log_sum_exp(float most, std::span<const float> chunk_sums) {
  double sum = 0.0;
  for (const float part : chunk_sums) sum += static_cast<double>(part);
  return static_cast<double>(most) + std::log(sum);
}

double log_sum_exp(std::span<const float> logits) {
  const auto n = static_cast<int64_t>(logits.size());
  const float most = maximum(logits.data(), n);
  double sum = 0.0;
  for (int64_t chunk = 0; chunk < sum_chunks(n); ++chunk) sum += static_cast<double>(chunk_sum(logits, chunk, most));
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
  Largest largest(logits, k);
  for (int64_t block = 0; block < n; block += kBlock) {
    const int64_t end = std::min(block + kBlock, n);
    if (largest.may_hold(maximum(logits.data() + block, end - block))) largest.take(block, end);
  }
  return largest.sorted();
}

// As many blocks have a maximum of at least the k-th largest maximum, so the k largest logits are in no other.
std::vector<int32_t> top_indices(std::span<const float> logits, int64_t k, std::span<const float> maxima) {
  const auto n = static_cast<int64_t>(logits.size()), n_blocks = static_cast<int64_t>(maxima.size());
  k = std::min(k, n);
  if (k <= 0) return {};
  float least = -HUGE_VALF;
  if (k < n_blocks) {
    std::vector<float> order(maxima.begin(), maxima.end());
    const auto place = order.begin() + k - 1;
    std::nth_element(order.begin(), place, order.end(), std::greater<>());
    least = *place;
  }
  Largest largest(logits, k);
  for (int64_t b = 0; b < n_blocks; ++b) {
    const float most = maxima[static_cast<size_t>(b)];
    if (most >= least && largest.may_hold(most)) largest.take(b * kLogitBlock, std::min((b + 1) * kLogitBlock, n));
  }
  return largest.sorted();
}

}  // namespace attar::runtime
