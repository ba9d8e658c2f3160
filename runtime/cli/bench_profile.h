// What `bench --profile` found, as a table for people and as JSON.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include "runtime/judge/benchmark.h"
#include "runtime/kernels/machine_speed.h"

namespace attar::cli {

// Of a row that has a profile.
void print_profile(const runtime::BenchRow& row, const runtime::MachineSpeed& machine);
nlohmann::ordered_json profile_json(const runtime::BenchRow& row, const runtime::MachineSpeed& machine);

}  // namespace attar::cli
