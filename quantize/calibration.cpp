#include "quantize/calibration.h"

#include <algorithm>

#include "runtime/formats/tensor_specs.h"

namespace attar {
namespace {

constexpr int64_t kTokensAnInput = 16;             // fewer: error feedback follows their noise
constexpr int64_t kMostCalibrationTokens = 65536;  // what more would keep of wider models was not measured

// Inputs of the widest matrix.
int64_t widest_input(const ModelConfig& config) {
  int64_t widest = 0;
  for (const TensorSpec& spec : tensor_specs(config))
    if (spec.is_matrix()) widest = std::max(widest, spec.shape.back());
  return widest;
}

}  // namespace

int64_t calibration_limit_tokens(const ModelConfig& config, const QuantizeOptions& options) {
  if (options.calibration_tokens != 0) return options.calibration_tokens;
  if (options.preset == "fast") return kLeastCalibrationTokens;
  return std::clamp(kTokensAnInput * widest_input(config), kLeastCalibrationTokens, kMostCalibrationTokens);
}

int64_t tokens_in(const std::vector<TokenBatch>& batches) {
  int64_t tokens = 0;
  for (const TokenBatch& batch : batches) tokens += batch.tokens.numel();
  return tokens;
}

std::string calibration_shortage_note(const ModelConfig& config, int64_t used_tokens, int64_t left_tokens) {
  const int64_t whole = kTokensAnInput * widest_input(config), wanted = std::min(whole, kMostCalibrationTokens);
  if (used_tokens >= wanted) return {};
  const std::string missing = std::to_string(wanted - used_tokens);
  const std::string goal = wanted == whole
                               ? std::to_string(kTokensAnInput) + " for each input of the widest layer"
                               : std::to_string(wanted) + ", the most that error feedback asks for by itself";
  if (left_tokens > 0)
    return "calibration_tokens is " + missing + " short of " + goal + "; raise it: some of the text was left over";
  return "the calibration text is " + missing + " tokens short of " + goal +
         ": more of it, of the kinds the model is for, would keep more";
}

}  // namespace attar
