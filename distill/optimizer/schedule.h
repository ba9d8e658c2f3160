// The learning rate along a training: a linear warm-up, then a schedule from the peak down to its final share.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "distill/train.h"

namespace attar {

std::vector<std::string> schedule_names();

// At the step that begins when so many tokens of `options.tokens` are behind. Error{Usage}: no such schedule.
double learning_rate_at(const DistillOptions& options, int64_t tokens);

}  // namespace attar
