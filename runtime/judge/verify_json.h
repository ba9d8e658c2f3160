// The JSON document of a verification, which `verify --json` prints and reports hold (runtime/cli/JSON.md).
#pragma once

#include <string>
#include <vector>

#include "runtime/judge/gates.h"
#include "runtime/judge/measure.h"

namespace attar::runtime {

std::string verify_document(const VerifyResults& results, const Speeds& speeds, const std::vector<GateResult>& gates);

}  // namespace attar::runtime
