#include "quantize/small_values.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "runtime/base/error.h"

namespace attar {
namespace {

// Places in the plan of what goes as F32 with `place`: itself, and where query, key and value are one tensor those
// three.
std::vector<size_t> shared_type(const QuantizePlan& plan, size_t place) {
  const auto one_of_three = [](const TensorSpec& spec) {
    return spec.role == Role::Query || spec.role == Role::Key || spec.role == Role::Value;
  };
  const TensorSpec& lost = plan.tensors[place].spec;
  std::vector<size_t> places;
  for (size_t i = 0; i < plan.tensors.size(); ++i) {
    const TensorSpec& spec = plan.tensors[i].spec;
    const bool together = plan.target.fused_qkv && one_of_three(lost) && one_of_three(spec) && spec.layer == lost.layer;
    if (i == place || together) places.push_back(i);
  }
  return places;
}

// Whether what was lost lies beyond a type's largest value: what is left of it is large. (F16 and scales of F16 become
// infinite there, which is refused; those of four-bit floats are a byte, which ends.)
bool was_too_large(const QuantizedTensor& tensor) {
  const QuantFormat& format = format_of(tensor.type);
  const int64_t columns = tensor.shape.back(), row_bytes = format.row_bytes(columns);
  std::vector<float> row(static_cast<size_t>(columns));
  for (size_t at = 0; at < tensor.bytes.size(); at += static_cast<size_t>(row_bytes)) {
    format.decode(tensor.bytes.data() + at, columns / format.block_size, row.data());
    if (std::any_of(row.begin(), row.end(), [](float value) { return std::fabs(value) > 1.0f; })) return true;
  }
  return false;
}

}  // namespace

// Values below a type's smallest lose everything. Rounding loses
// what the bits are too few for: of normal values .005 under four bits, .05 to .12 under two and a half, .19 under
// three levels, .36 under signs alone, and of longer tails up to half as much again; always less than 2^(1 - bits).
double most_loss(TensorType type) {
  return std::max(0.1, std::exp2(1.0 - format_of(type).bits_per_weight()));
}

std::set<size_t> keep_small_values(QuantizedModel& model) {
  QuantizePlan& plan = model.plan;
  std::set<size_t> changed;
  for (size_t i = 0; i < plan.tensors.size(); ++i) {
    const double loss = model.tensors.at(plan.tensors[i].spec.name).relative_error;
    if (loss <= most_loss(plan.tensors[i].type)) continue;
    char share[32];
    std::snprintf(share, sizeof share, "%.0f", 100.0 * loss);
    const std::string size = was_too_large(model.tensors.at(plan.tensors[i].spec.name)) ? "large" : "small";
    for (const size_t place : shared_type(plan, i)) {
      PlannedTensor& planned = plan.tensors[place];
      if (planned.type == TensorType::F32 || !changed.insert(place).second) continue;
      plan.fallbacks.push_back({planned.spec.name, planned.type, TensorType::F32,
                                place == i ? "values too " + size + " for it: " + share + " % of their energy lost"
                                           : "of one type with " + plan.tensors[i].spec.name});
      planned.type = TensorType::F32;
    }
  }
  if (changed.empty() || !plan.budget_bytes) return changed;
  if (const uint64_t bytes = plan.tensor_bytes() + plan.target.fixed_bytes; bytes > *plan.budget_bytes)
    throw input_error("tensor " + plan.tensors[*changed.begin()].spec.name,
                      "holds values too small for its type, and the file has no room for them as F32",
                      std::to_string(*plan.budget_bytes) + " bytes", std::to_string(bytes),
                      "allow a larger file, or keep its role at BF16");
  return changed;
}

}  // namespace attar
