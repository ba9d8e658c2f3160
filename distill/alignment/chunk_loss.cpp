#include "distill/alignment/chunk_loss.h"

#include <algorithm>
#include <cmath>

namespace attar {
namespace {

constexpr double kMostLog = -1e-6;

}  // namespace

ChunkLoss chunk_loss(double teacher_log_p, double student_log_q, double temperature) {
  if (std::isnan(teacher_log_p) || std::isnan(student_log_q)) return {std::nan(""), std::nan("")};
  const double log_a = std::min(teacher_log_p, kMostLog) / temperature,
               log_b = std::min(student_log_q, kMostLog) / temperature;
  const double not_a = -std::expm1(log_a), not_b = -std::expm1(log_b);  // 1 - a, 1 - b
  const double a = std::exp(log_a);
  const double of_a = a > 0.0 ? a * (log_a - log_b) : 0.0;  // a likelihood of nothing has a logarithm all the same
  const double value = of_a + not_a * (std::log(not_a) - std::log(not_b));
  return {std::max(0.0, temperature * value), (not_a - not_b) / not_b};
}

}  // namespace attar
