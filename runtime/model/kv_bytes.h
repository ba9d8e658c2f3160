// Keys and values as bytes in a fixed order, for files: of each chunk, layer and head those of the positions that are
// held, and nothing of what was forgotten.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>

#include "runtime/model/model.h"

namespace attar::runtime {

// How many there are of so many tokens.
uint64_t kv_file_bytes(const Model& model, int64_t length_tokens);

void write_kv(const Model& model, KvCache& cache, const std::function<void(std::span<const std::byte>)>& write);
// A cache of `length_tokens` from what `read` fills, in the same order.
KvCache read_kv(const Model& model, int64_t length_tokens, const std::function<void(std::span<std::byte>)>& read);

}  // namespace attar::runtime
