// Weights are numbers: what reads, encodes or copies a tensor says which one is not.
#pragma once

#include <cstdint>
#include <span>
#include <string>

namespace attar {

bool all_finite(std::span<const float> values);

// Error{Input} naming the tensor and the first place that holds NaN or infinity; `first` is where its values begin.
void require_finite(const std::string& tensor, std::span<const float> values, int64_t first = 0);

}  // namespace attar
