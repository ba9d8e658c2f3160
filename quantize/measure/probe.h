// The divergence that rounding a role of the model's matrices makes, measured on a few sequences: what brings the costs
// that sensitivity.h predicts to scale.
#pragma once

#include <map>
#include <vector>

#include "compress/weight_source.h"
#include "quantize/measure/survey.h"
#include "runtime/base/progress.h"
#include "runtime/formats/blocks/quant_format.h"

namespace attar {

inline constexpr TensorType kProbeType = TensorType::IQ4_NL;

// All matrices of a role, each weight by itself, the other roles as they are. Nats a token, by role. The roles walk the
// model side by side, a layer at a time. Memory: two layers, a stream of hidden states a role, and the head with the
// log-probabilities of the whole model.
std::map<Role, double> probe_roles(const WeightSource& weights, const Survey& survey,
                                   const std::vector<TokenBatch>& sequences, int threads, const Progress& progress);

}  // namespace attar
