// Sums over a whole vocabulary of logits, (V), fast: f32 exponentials eight or sixteen at a time, sums in double.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace attar::runtime {

// The lowest index on ties. NaN is never the largest; Error{Input} when nothing else is there.
int64_t argmax(std::span<const float> logits);
double log_sum_exp(
    std::span<const float> logits);  // log(sum(exp(logits))); not finite when a logit is NaN or +infinity

// The parts of log_sum_exp(), for threads that share them out: the largest of each block; of each chunk the sum of
// exp(logit - the largest of all); then the whole, to the bit what log_sum_exp() gives.
inline constexpr int64_t kLogitBlock = 64, kSumChunk = 4096;
constexpr int64_t logit_blocks(int64_t n) {
  return (n + kLogitBlock - 1) / kLogitBlock;
}
constexpr int64_t sum_chunks(int64_t n) {
  return (n + kSumChunk - 1) / kSumChunk;
}
void block_maxima(std::span<const float> logits, float* maxima);  // -> (logit_blocks); NaN is none
float chunk_sum(std::span<const float> logits, int64_t chunk, float most);
double log_sum_exp(float most, std::span<const float> chunk_sums);

// A row of logits with what was found out about it.
struct SummedLogits {
  std::span<const float> values;    // (V)
  double lse = 0;                   // their log-sum-exp
  std::span<const float> maxima{};  // (logit_blocks(V)) the largest of each block; empty: not known
};

// KL(softmax(teacher) || softmax(student)) from logits and their log-sum-exps; NaN when one of them is.
double kl_divergence(std::span<const float> teacher, double teacher_lse, std::span<const float> student,
                     double student_lse);

// out[i] = exp((logits[i] - most) * scale), where no logit is above `most`: no scale overflows.
void exponentials(std::span<const float> logits, float most, float scale, std::span<float> out);

// Indices of the k largest, largest first, ties to the lower index; fewer where fewer are numbers. k is small.
std::vector<int32_t> top_indices(std::span<const float> logits, int64_t k);

// The same two by the maxima of blocks: few blocks are looked at.
int64_t argmax(std::span<const float> logits, std::span<const float> maxima);
std::vector<int32_t> top_indices(std::span<const float> logits, int64_t k, std::span<const float> maxima);

}  // namespace attar::runtime
