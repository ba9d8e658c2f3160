// What the ways to make a plan share: an entry, its type where a row does not divide, and its bytes.
#pragma once

#include "quantize/quantize.h"

namespace attar {

bool fits(TensorType type, int64_t columns);

// The type, or what llama.cpp takes where the columns do not divide by its block.
TensorType fitted(TensorType type, int64_t columns);

// What the user keeps the tensor's role at, or `otherwise`.
TensorType kept_type(const QuantizeOptions& options, const TensorSpec& spec, TensorType otherwise);

// Puts the tensor into the plan, with a fallback where the type does not fit. Vectors stay F32.
void add_entry(QuantizePlan& plan, const TensorSpec& spec, TensorType wanted);

// Of the tensor in a GGUF file, padded.
uint64_t stored_bytes(const TensorSpec& spec, TensorType type);

bool is_qkv(Role role);

}  // namespace attar
