#include "quantize/plan/plan_entry.h"

namespace attar {
namespace {

constexpr uint64_t kAlignment = 32;

// What llama.cpp takes when a row does not divide by the block (llama_tensor_get_type and its fallbacks).
TensorType stock_fallback(TensorType type, int64_t columns) {
  struct Row {
    TensorType from, to;
  };
  static constexpr Row kRows[] = {{TensorType::Q4_K, TensorType::Q5_0},
                                  {TensorType::Q5_K, TensorType::Q5_1},
                                  {TensorType::Q6_K, TensorType::Q8_0},
                                  {TensorType::Q2_K, TensorType::Q4_0},
                                  {TensorType::Q3_K, TensorType::Q4_0},
                                  {TensorType::TQ1_0, TensorType::Q4_0},
                                  {TensorType::TQ2_0, TensorType::Q4_0},
                                  {TensorType::Q2_0, TensorType::Q4_0},
                                  {TensorType::IQ4_XS, TensorType::IQ4_NL},
                                  {TensorType::IQ3_S, TensorType::IQ4_NL},
                                  {TensorType::IQ3_XXS, TensorType::IQ4_NL},
                                  {TensorType::IQ2_S, TensorType::IQ4_NL},
                                  {TensorType::IQ2_XS, TensorType::IQ4_NL},
                                  {TensorType::IQ2_XXS, TensorType::IQ4_NL},
                                  {TensorType::IQ1_M, TensorType::IQ4_NL},
                                  {TensorType::IQ1_S, TensorType::IQ4_NL},
                                  // llama.cpp refuses these: of as many bits, or the next coarse type that fits.
                                  {TensorType::NVFP4, TensorType::IQ4_NL},
                                  {TensorType::Q1_0, TensorType::Q2_0},
                                  {TensorType::Q1_0, TensorType::Q4_0}};
  for (const Row& row : kRows)
    if (row.from == type && fits(row.to, columns)) return row.to;
  return TensorType::F16;
}

}  // namespace

bool fits(TensorType type, int64_t columns) {
  return columns % format_of(type).block_size == 0;
}

TensorType fitted(TensorType type, int64_t columns) {
  return fits(type, columns) ? type : stock_fallback(type, columns);
}

TensorType kept_type(const QuantizeOptions& options, const TensorSpec& spec, TensorType otherwise) {
  const auto kept = options.keep.find(role_name(spec.role));
  return kept == options.keep.end() ? otherwise : find_format(kept->second)->type;
}

void add_entry(QuantizePlan& plan, const TensorSpec& spec, TensorType wanted) {
  const TensorType used = spec.is_matrix() ? fitted(wanted, spec.shape[1]) : TensorType::F32;
  if (spec.is_matrix() && used != wanted)
    plan.fallbacks.push_back(
        {spec.name, wanted, used,
         std::to_string(spec.shape[1]) + " columns do not divide by " + std::to_string(format_of(wanted).block_size)});
  plan.tensors.push_back({spec, used});
}

uint64_t stored_bytes(const TensorSpec& spec, TensorType type) {
  const QuantFormat& format = format_of(type);
  const auto bytes = static_cast<uint64_t>(spec.elements() / format.block_size * format.block_bytes);
  return (bytes + kAlignment - 1) / kAlignment * kAlignment;
}

bool is_qkv(Role role) {
  return role == Role::Query || role == Role::Key || role == Role::Value;
}

}  // namespace attar
