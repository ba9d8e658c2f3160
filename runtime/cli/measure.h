// Speed and memory of one model, measured in a child process that runs it alone: `attar-run bench --json MODEL`.
#pragma once

#include <string>

#include "runtime/verify.h"

namespace attar::cli {

// The attar-run beside the running program.
std::string runtime_program();

runtime::Efficiency measure(const std::string& program, const std::string& model, int threads);

// The JSON document of a verification, as the README's "verify --json" says.
std::string verify_document(const runtime::VerifyResults& results, const std::optional<runtime::Efficiency>& teacher,
                            const std::optional<runtime::Efficiency>& student,
                            const std::vector<runtime::GateResult>& gates);

}  // namespace attar::cli
