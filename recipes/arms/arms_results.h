// What the arms came to: a row each, paired intervals of their differences to the one that was asked for, one sentence.
#pragma once

#include <string>
#include <vector>

#include "recipes/arms/judged_arm.h"

namespace attar {

// {"asked", "seeds", "text_sha256", "context", "windows", "scored_tokens", "teacher": {"cross_entropy", "perplexity"},
// "rows": [{"arm", "tokens", "kl", "cross_entropy", "perplexity", "top1_agreement", "by_seed": [{"seed", "kl", ...}],
// "difference": {"kl": {"mean", "low95", "high95"}, ...}}], "verdict"}; nats a token, means over the seeds; of
// `difference`, which the arm that was asked for lacks, what the arm has more than that one. `judged`: every arm with
// every seed, on the same windows.
std::string arms_results(const std::vector<JudgedArm>& judged, const Arm& asked, uint64_t first_seed);

// "KL 0.123, cross-entropy 2.34, same likeliest token 56.7 %"
std::string in_words(const JudgedArm& arm);

}  // namespace attar
