// What quantizing alone would have given: the teacher quantized to the student's size and judged beside it, so that
// nobody ships a worse model than that without knowing.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "recipes/run/run_state.h"

namespace attar {

// Whether the student is more than its teacher quantized: it was pruned or taught, or is another model.
bool is_more_than_quantized(const Recipe& recipe);

// How the recipe quantizes, without what a size decides: its last quantize stage, with `best` in place of `learned`.
QuantizeOptions quantizing_alone(const Recipe& recipe);

struct Baseline {
  std::string results{};  // JSON: plan, bytes, kl, top1, ...; empty: no file is as small
  std::vector<std::string> notes{};
};
// For verify stage `name`, whose student's file has `student_bytes`. Goes on from what an interrupted run has kept.
Baseline measure_baseline(RunState& state, const std::string& name, const runtime::VerifyOptions& how,
                          uint64_t student_bytes);

}  // namespace attar
