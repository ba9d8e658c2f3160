#include "quantize/tensor_codes.h"

#include <ATen/ops/empty.h>

#include <algorithm>
#include <cmath>
#include <functional>

#include "compress/shards.h"
#include "quantize/grid/encode.h"
#include "quantize/measure/importance.h"
#include "runtime/base/error.h"
#include "runtime/formats/finite.h"

namespace attar {
namespace {

constexpr int64_t kRowsAPart = 64;

// A scale or value that became infinite: F16, also inside blocks, ends at 65504.
void require_held(const PlannedTensor& planned, double error) {
  if (!std::isfinite(error))
    throw input_error("tensor " + planned.spec.name,
                      std::string("holds values too large for ") + format_of(planned.type).name, "", "",
                      "keep it in another type, such as BF16 or F32");
}

// Calls encode(part, first row, rows, bytes) for all rows of a tensor, 64 at a time, side by side. rows (n, in)
using EncodePart = std::function<void(size_t part, int64_t first, const at::Tensor& rows, std::span<std::byte> bytes)>;
QuantizedTensor in_parts(const WeightSource& weights, const PlannedTensor& planned, int threads,
                         const std::function<void()>& between, const EncodePart& encode) {
  const TensorSpec& spec = planned.spec;
  const int64_t columns = spec.shape.back(), rows = spec.elements() / columns,
                row_bytes = format_of(planned.type).row_bytes(columns), n_parts = (rows + kRowsAPart - 1) / kRowsAPart;
  QuantizedTensor out{planned.type, spec.shape, std::vector<std::byte>(static_cast<size_t>(rows * row_bytes))};
  std::vector<uint8_t> bad(static_cast<size_t>(n_parts), 0);
  const auto read = [&](int64_t part) {
    at::Tensor values = at::empty({std::min(kRowsAPart, rows - part * kRowsAPart), columns}, at::kFloat);
    weights.read_rows(spec, part * kRowsAPart, {values.mutable_data_ptr<float>(), static_cast<size_t>(values.numel())});
    return values;
  };
  const auto floats = [](const at::Tensor& values) {
    return std::span(values.const_data_ptr<float>(), static_cast<size_t>(values.numel()));
  };
  const auto encode_part = [&](int64_t part) {
    const int64_t first = part * kRowsAPart;
    const at::Tensor values = read(part);
    if (!all_finite(floats(values))) {
      bad[static_cast<size_t>(part)] = 1;
      return;
    }
    encode(static_cast<size_t>(part), first, values,
           std::span(out.bytes).subspan(static_cast<size_t>(first * row_bytes),
                                        static_cast<size_t>(values.size(0) * row_bytes)));
  };
  run_shards(n_parts, threads, encode_part, between);
  const auto first_bad = std::find(bad.begin(), bad.end(), uint8_t{1}) - bad.begin();
  if (first_bad < n_parts) require_finite(spec.name, floats(read(first_bad)), first_bad * kRowsAPart * columns);
  return out;
}

size_t parts_of(const TensorSpec& spec) {
  return static_cast<size_t>((spec.elements() / spec.shape.back() + kRowsAPart - 1) / kRowsAPart);
}

}  // namespace

QuantizedTensor encode_tensor(const WeightSource& weights, const PlannedTensor& planned,
                              const std::vector<float>* importance, int threads, const std::function<void()>& between) {
  const QuantFormat& format = format_of(planned.type);
  const std::vector<float> relative = importance != nullptr ? relative_weights(*importance) : std::vector<float>();
  std::vector<EncodeLoss> losses(parts_of(planned.spec));
  QuantizedTensor out =
      in_parts(weights, planned, threads, between,
               [&](size_t part, int64_t, const at::Tensor& rows, std::span<std::byte> bytes) {
                 losses[part] = encode_rows(format, {rows.const_data_ptr<float>(), static_cast<size_t>(rows.numel())},
                                            relative, bytes);
               });
  EncodeLoss total;
  for (const EncodeLoss& loss : losses) total.error += loss.error, total.energy += loss.energy;
  require_held(planned, total.error);
  out.relative_error = total.energy > 0.0 ? total.error / total.energy : 0.0;
  return out;
}

QuantizedTensor encode_with_feedback(const WeightSource& weights, const PlannedTensor& planned,
                                     const Feedback& feedback, int threads, at::Tensor* values,
                                     const std::function<void()>& between) {
  const QuantFormat& format = format_of(planned.type);
  std::vector<gptq::OutputError> errors(parts_of(planned.spec));
  if (values != nullptr) *values = at::empty(planned.spec.shape, at::kFloat);
  QuantizedTensor out = in_parts(weights, planned, threads, between,
                                 [&](size_t part, int64_t first, const at::Tensor& rows, std::span<std::byte> bytes) {
                                   feedback.correction.add_to(rows, first);
                                   errors[part] =
                                       gptq::encode_rows(format, feedback.inputs, feedback.search_weights, rows, bytes);
                                   if (values != nullptr) values->narrow(0, first, rows.size(0)).copy_(rows);
                                 });
  gptq::OutputError total;
  for (const gptq::OutputError& error : errors) total += error;
  require_held(planned, total.kept);
  out.relative_error = total.energy > 0.0 ? total.kept / total.energy : 0.0;
  out.rounding_error = total.energy > 0.0 ? total.nearest / total.energy : 0.0;
  return out;
}

at::Tensor decoded(const QuantizedTensor& tensor, int threads) {
  const QuantFormat& format = format_of(tensor.type);
  const int64_t columns = tensor.shape.back(), rows = tensor.shape.front(), row_bytes = format.row_bytes(columns);
  at::Tensor out = at::empty(tensor.shape, at::kFloat);
  auto* values = out.mutable_data_ptr<float>();
  run_shards((rows + kRowsAPart - 1) / kRowsAPart, threads, [&](int64_t part) {
    const int64_t first = part * kRowsAPart, count = std::min(kRowsAPart, rows - first);
    format.decode(tensor.bytes.data() + first * row_bytes, count * columns / format.block_size,
                  values + first * columns);
  });
  return out;
}

at::Tensor decoded_rows(const QuantizedTensor& tensor, const std::vector<int64_t>& ids) {
  const QuantFormat& format = format_of(tensor.type);
  const int64_t columns = tensor.shape.back(), row_bytes = format.row_bytes(columns);
  at::Tensor out = at::empty({static_cast<int64_t>(ids.size()), columns}, at::kFloat);
  auto* row = out.mutable_data_ptr<float>();
  for (const int64_t id : ids) {
    format.decode(tensor.bytes.data() + id * row_bytes, columns / format.block_size, row);
    row += columns;
  }
  return out;
}

}  // namespace attar
