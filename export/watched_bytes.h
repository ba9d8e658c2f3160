// How far an export is, in bytes written and hashed: its caller sees it, and may stop it between two tensors.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include "runtime/base/progress.h"

namespace attar {

// For what writes and what hashes; all copies count together. Throws Error{Interrupted} when the caller stops.
inline std::function<void(uint64_t bytes)> watched_bytes(const Progress& progress, uint64_t total_bytes) {
  const auto done = std::make_shared<uint64_t>(0);
  return [&progress, total_bytes, done](uint64_t bytes) {
    *done += bytes;
    report(progress, {.stage = "export",
                      .unit = "bytes",
                      .done = static_cast<int64_t>(*done),
                      .total = static_cast<int64_t>(total_bytes)});
  };
}

}  // namespace attar
