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

// KL(softmax(teacher) || softmax(student)) from logits and their log-sum-exps; NaN when one of them is.
double kl_divergence(std::span<const float> teacher, double teacher_lse, std::span<const float> student,
                     double student_lse);

// out[i] = exp((logits[i] - most) * scale), where no logit is above `most`: no scale overflows.
void exponentials(std::span<const float> logits, float most, float scale, std::span<float> out);

// Indices of the k largest, largest first, ties to the lower index; fewer where fewer are numbers. k is small.
std::vector<int32_t> top_indices(std::span<const float> logits, int64_t k);

}  // namespace attar::runtime
