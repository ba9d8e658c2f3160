// Weights are numbers: what reads, encodes or copies a tensor says which one is not.
#pragma once

#include <span>
#include <string>

namespace attar {

// Error{Input} naming the tensor and the first place that holds NaN or infinity.
void require_finite(const std::string& tensor, std::span<const float> values);

}  // namespace attar
