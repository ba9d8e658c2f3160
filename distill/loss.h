// Losses as row kernels: student logits of R rows and what they should be -> loss of every row and, in place of the
// logits, the gradient. The closed forms and the golden row are in the tests. A loss is a row of kLosses.
#pragma once

#include <ATen/core/Tensor.h>

#include <span>
#include <string>

namespace attar {

// What the rows of one chunk should predict. Fields a loss does not need may be undefined.
struct RowTargets {
  at::Tensor tokens;             // (R) int64: the next token
  at::Tensor teacher_logits;     // (R, V) f32: a dense teacher; changed in place
  at::Tensor top_ids;            // (R, k) int64, -1 unused: a sparse teacher, with the rest of the mass in one bucket
  at::Tensor top_log_probs;      // (R, k) f32
};

// logits (R, V) f32 student logits in, gradient of `scale` * sum of the losses out, added over losses by head_loss.
// -> (R) f64 losses (unscaled). Temperature t: gradients carry t^2 * (1/t) as in Hinton et al. 2015, section 2.
using LossRows = at::Tensor (*)(const at::Tensor& logits, const RowTargets& targets, double temperature,
                                at::Tensor& gradient, double scale);

struct LossEntry {
  const char* name;  // "forward_kl", "cross_entropy": recipe keys of `losses`
  LossRows rows;
  bool needs_teacher;
  const char* help;
};
std::span<const LossEntry> losses();
const LossEntry* find_loss(const std::string& name);

}  // namespace attar
