// Which model it is, by what it computes with: keys and values that one process wrote may be gone on with by another
// only when both give the same bits.
#pragma once

#include <string>

#include "runtime/base/host/thread_pool.h"
#include "runtime/model/model.h"

namespace attar::runtime {

// SHA-256, as hexadecimal, of sizes, packed weights, numerics, the format of keys and values, and how sums are rounded
// (AVX2 and AVX-512 alike, all of NEON alike, the scalar kernels otherwise). Not of names, paths and tokenizer. The
// first call reads all weights, with all threads.
const std::string& identity_of(const Model& model, ThreadPool& threads);

}  // namespace attar::runtime
