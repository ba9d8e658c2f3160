// Which steps change nothing: those whose loss or gradient leaps out of what the steps before had, or is not finite.
#pragma once

#include <cstdint>
#include <vector>

#include "distill/train.h"

namespace attar {

inline constexpr int64_t kSpikeWindow = 64;   // steps whose median is what is usual
inline constexpr int64_t kFewestUsual = 16;   // fewer say nothing yet
inline constexpr int64_t kMostSpikes = 8;     // in a row; the next one is the new level, whatever it is
inline constexpr int64_t kMostNotFinite = 3;  // in a row end the training

enum class StepVerdict { Take, Skip, Stop };

// Of a step with this loss and gradient norm after `history`. Spikes are loss or norm above `spike_factor` times the
// median of the last kSpikeWindow steps that were taken; 0: there are none.
StepVerdict judge_step(const std::vector<TrainStep>& history, double loss, double gradient_norm, double spike_factor);

// Steps that end `history` and were not finite.
int64_t not_finite_in_a_row(const std::vector<TrainStep>& history);

}  // namespace attar
