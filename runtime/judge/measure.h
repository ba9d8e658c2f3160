// Speed and memory of two models, each measured in child processes that run it alone: `attar-run bench --json MODEL`.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "runtime/judge/verify.h"

namespace attar::runtime {

// The attar-run beside the running program.
std::string runtime_program();

// Between the two values nearest to `share` of the way through the sorted values; 0 of none.
double quantile(std::vector<double> values, double share);

// Both absent: not measured.
struct Speeds {
  std::optional<Efficiency> teacher, student;
};

// `kv`: of the student's keys and values; "": as its file plans. Asks `progress` while a child runs; when that answers
// Stop, the child is killed.
Speeds measure_both(const std::string& program, const std::string& teacher, const std::string& student,
                    const std::string& kv, int threads, const Progress& progress);

}  // namespace attar::runtime
