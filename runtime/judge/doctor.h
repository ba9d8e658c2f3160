// What this machine has and lacks.
#pragma once

#include <string>

namespace attar::runtime {

// The JSON document of `doctor` (runtime/cli/JSON.md). `runtime_program`: where attar-run, which measures, should be.
std::string doctor_document(const std::string& runtime_program);

}  // namespace attar::runtime
