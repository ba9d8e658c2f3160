#include "quantize/gptq_lattice.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/tensor.h>

#include <algorithm>
#include <array>

#include "quantize/grid/eights.h"
#include "quantize/grid/lattice.h"

namespace attar::gptq {
namespace {

constexpr int kEightsABlock = 32;  // of a super-block

// The metric of inputs at .. at + 8 of the order: with U their block of the factor, M = U^-1 U^-T.
EightMetric metric_of(const InputHessian& inputs, int64_t at) {
  const int64_t in = inputs.factor.size(1);
  const float* block = inputs.factor.const_data_ptr<float>() + at * in + at;
  double inverse[kEight][kEight] = {};
  for (int j = 0; j < kEight; ++j)
    for (int i = j; i >= 0; --i) {  // U^-1, upper, from the diagonal up
      double sum = i == j ? 1.0 : 0.0;
      for (int k = i + 1; k <= j; ++k) sum -= static_cast<double>(block[i * in + k]) * inverse[k][j];
      inverse[i][j] = sum / static_cast<double>(block[i * in + i]);
    }
  EightMetric out;
  for (int j = 0; j < kEight; ++j)
    for (int k = 0; k < kEight; ++k) {
      double sum = 0.0;
      for (int l = 0; l < kEight; ++l) sum += inverse[j][l] * inverse[k][l];
      out.of[j][k] = static_cast<float>(sum);
    }
  return out;
}

// Rows (n, in) by the inputs' order, of which the first are rounded.
struct Walk {
  const Codebook& book;
  const InputHessian& inputs;
  at::Tensor left;  // (n, in), by the order: what is left to round
  std::vector<LatticeBlock>& blocks;
  at::Tensor values;  // (n, in), in the inputs' own order

  // Eight inputs from `at` on of rows first .. first + count: their values, and errors in units of the factor (8,
  // kLanes).
  void round_rows(int64_t at, const EightMetric& metric, int64_t first, int64_t count, float* errors) {
    const int64_t in = left.size(1), column = inputs.order[static_cast<size_t>(at)];
    float x[kEight * kLanes] = {}, rounded[kEight * kLanes];
    std::array<LatticeBlock*, kLanes> own{};
    auto* data = left.mutable_data_ptr<float>();
    auto* out = values.mutable_data_ptr<float>();
    for (int64_t l = 0; l < count; ++l) {
      own[static_cast<size_t>(l)] = &blocks[static_cast<size_t>(((first + l) * in + column) / 256)];
      for (int j = 0; j < kEight; ++j) x[j * kLanes + l] = data[(first + l) * in + at + j];
    }
    const std::span<LatticeBlock* const> rows(own.data(), static_cast<size_t>(count));
    round_eights(book, metric, {rows, static_cast<int>(column / kEight % kEightsABlock)}, x, rounded);
    const float* factor = inputs.factor.const_data_ptr<float>();
    for (int64_t l = 0; l < count; ++l)
      for (int j = 0; j < kEight; ++j) {
        float error = x[j * kLanes + l] - rounded[j * kLanes + l];
        for (int i = 0; i < j; ++i) error -= errors[i * kLanes + l] * factor[(at + i) * in + at + j];
        errors[j * kLanes + l] = error / factor[(at + j) * in + at + j];
        out[(first + l) * in + column + j] = rounded[j * kLanes + l];
      }
  }
};

// Takes the errors of eight inputs from `at` on off those up to `end`.
void feed_back(const float* factor, int64_t in, int64_t at, int64_t end, const float* errors, int64_t lane,
               float* row) {
  for (int j = 0; j < kEight; ++j) {
    const float e = errors[j * kLanes + lane];
    const float* own = factor + (at + j) * in;
    for (int64_t k = at + kEight; k < end; ++k) row[k] -= e * own[k];
  }
}

}  // namespace

at::Tensor lattice_feedback(const QuantFormat& format, const InputHessian& inputs, const at::Tensor& rows,
                            std::vector<LatticeBlock>& blocks) {
  const int64_t n = rows.size(0), in = rows.size(1);
  Walk walk{codebook_of(format), inputs, rows.index_select(1, at::tensor(inputs.order, at::kLong)).contiguous(), blocks,
            at::empty_like(rows)};
  const float* factor = inputs.factor.const_data_ptr<float>();
  for (int64_t begin = 0; begin < in; begin += kBlockInputs) {
    const int64_t count = std::min(kBlockInputs, in - begin), end = begin + count;
    at::Tensor errors = at::empty({n, count}, at::kFloat);
    for (int64_t at = begin; at < end; at += kEight) {
      const EightMetric metric = metric_of(inputs, at);
      for (int64_t first = 0; first < n; first += kLanes) {
        const int64_t lanes = std::min<int64_t>(kLanes, n - first);
        float own[kEight * kLanes];
        walk.round_rows(at, metric, first, lanes, own);
        for (int64_t l = 0; l < lanes; ++l) {
          feed_back(factor, in, at, end, own, l, walk.left.mutable_data_ptr<float>() + (first + l) * in);
          float* error = errors.mutable_data_ptr<float>() + (first + l) * count + at - begin;
          for (int j = 0; j < kEight; ++j) error[j] = own[j * kLanes + l];
        }
      }
    }
    if (end < in)
      walk.left.narrow(1, end, in - end) -=
          at::mm(errors, inputs.factor.narrow(0, begin, count).narrow(1, end, in - end));
  }
  return walk.values;
}

}  // namespace attar::gptq
