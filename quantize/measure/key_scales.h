// Queries and keys scaled against each other behind RoPE, so that int8 keys lose least. The runtime mixes a key before
// it rounds it, so every dim of k / s gets the same error, which the query passes on as q * s: sum(k^2 / s^2) times
// sum(q^2 s^2) is least where s^4 = k^2 / q^2, over tokens. (Lin et al., "QServe", 2024, arXiv 2405.04532, section 4.2,
// scales keys alone, by their largest values.)
#pragma once

#include <vector>

#include "compress/weight_source.h"
#include "runtime/base/progress.h"

namespace attar {

// -> ModelConfig::key_scales
std::vector<float> key_scales(const WeightSource& weights, const std::vector<TokenBatch>& text, int threads,
                              const Progress& progress = {});

}  // namespace attar
