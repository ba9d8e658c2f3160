// Losses over a chunk of rows: student logits and what they should be -> loss of every row, gradients added. The row
// kernels are in row_kernels.h. A loss is a row of losses().
#pragma once

#include <ATen/core/Tensor.h>

#include <span>
#include <string>
#include <vector>

namespace attar {

// What the rows of one chunk should predict. Fields a loss does not need may be undefined.
struct RowTargets {
  at::Tensor tokens;          // (R) int64: the next token
  at::Tensor teacher_logits;  // (R, V) f32: a dense teacher
  at::Tensor top_ids;  // (R, k) int64: a sparse teacher, the rest of its mass in one bucket; -1 as in TokenDocument
  at::Tensor top_log_probs;  // (R, k) f32
};

// Adds scale * d(sum of the rows' losses)/d(logits) to gradient (R, V); -> loss of each row (R), unscaled.
using LossRows = std::vector<double> (*)(const at::Tensor& logits, const RowTargets& targets, double temperature,
                                         double scale, at::Tensor& gradient);

struct LossEntry {
  const char* name;  // recipe key of `losses`
  LossRows rows;
  bool needs_teacher;
  const char* help;
};
std::span<const LossEntry> losses();
const LossEntry* find_loss(const std::string& name);  // nullptr: unknown

}  // namespace attar
