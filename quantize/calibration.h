// How much calibration text a preset wants, and what to say where it got less.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "quantize/quantize.h"

namespace attar {

// What is enough for means of inputs, and the least that error feedback is given by default.
inline constexpr int64_t kLeastCalibrationTokens = 8192;

// The most tokens of the text that are used: options.calibration_tokens or, where that is 0, what the preset wants of a
// model of this shape.
int64_t calibration_limit_tokens(const ModelConfig& config, const QuantizeOptions& options);

int64_t tokens_in(const std::vector<TokenBatch>& batches);

// Where error feedback on `used_tokens` had fewer than it wants: by the number that was asked for, where `left_tokens`
// of the text were left over, or by the text. "" where it had enough.
std::string calibration_shortage_note(const ModelConfig& config, int64_t used_tokens, int64_t left_tokens);

}  // namespace attar
