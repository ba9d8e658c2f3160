// Limits on what a verification measured: by name the largest value that passes, or the smallest.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "runtime/judge/verify.h"

namespace attar::runtime {

inline constexpr const char* kGatesHelp =
    "limits that set the exit code: kl, ppl_ratio, bytes (60MB), bits_per_byte_ratio at most; top1, decode_ratio, and "
    "of tasks accuracy_ratio, agreement at least";
bool is_gate(const std::string& name);
std::vector<std::string> gate_list();
bool judges_deployed(
    const std::string& name);  // what the deployed numbers say, which `numerics: fp32` does not measure
bool judges_tasks(const std::string& name);
std::string gate_names();  // "kl, ppl_ratio, ..."

enum class Limit { AtMost, AtLeast };
struct GateResult {
  std::string name;
  Limit limit_is = Limit::AtMost;
  double limit = 0, value = 0;
  bool pass = false;
};
// Error{Usage}: an unknown name, or nothing measured that it could judge (deployed numbers, speed).
std::vector<GateResult> judge(const std::map<std::string, double>& gates, const VerifyResults& results,
                              const std::optional<Efficiency>& teacher, const std::optional<Efficiency>& student,
                              uint64_t student_bytes);

// The same complaints before anything has run.
void check_gates(const std::map<std::string, double>& gates, const VerifyOptions& options, bool speed_is_measured);

}  // namespace attar::runtime
